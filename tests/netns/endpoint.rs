//! An endpoint: a namespace with the VIPs on its loopback, `pointsman endpoint`, and servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use tempfile::TempDir;

use super::notify::Notify;
use super::{Namespace, Process, SOON, http, udp};

/// A running endpoint.
pub struct Endpoint {
    /// Its name, which is what its servers answer.
    pub name: String,
    /// Its addresses in the underlay.
    pub addresses: (Ipv4Addr, Ipv6Addr),
    /// Where it runs.
    pub namespace: Namespace,
    receiver: Process,
    _http: http::Server,
    _echoes: Vec<udp::Echo>,
    _directory: TempDir,
}

impl Endpoint {
    /// Starts `pointsman endpoint` and the servers in a namespace that is already on the network.
    pub fn start(namespace: Namespace, name: &str, addresses: (Ipv4Addr, Ipv6Addr), vips: &[IpAddr]) -> Self {
        let host_routes = vips.iter().map(|vip| format!("{vip}/{}", if vip.is_ipv4() { 32 } else { 128 }));
        namespace.add_addresses("lo", &host_routes.collect::<Vec<_>>());
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let notify = Notify::new(directory.path());
        let mut command = namespace.command(&[env!("CARGO_BIN_EXE_pointsman"), "endpoint", "--interface", "eth0"]);
        for vip in vips {
            command.arg("--vip").arg(vip.to_string());
        }
        command.env("NOTIFY_SOCKET", notify.path());
        let receiver = Process::start(command);
        notify.wait(&receiver, SOON).unwrap_or_else(|reason| panic!("pointsman endpoint: {reason}"));
        let server = http::Server::start(&namespace, name);
        let echoes = vips.iter().map(|&vip| udp::Echo::start(&namespace, vip, name)).collect();
        let name = name.to_owned();
        Self { name, addresses, namespace, receiver, _http: server, _echoes: echoes, _directory: directory }
    }

    /// Its entry in an endpoint set, reached over IPv6.
    pub fn over_ipv6(&self) -> serde_json::Value {
        serde_json::json!({ "name": self.name, "address": self.addresses.1 })
    }

    /// Its entry in an endpoint set, reached over IPv4.
    pub fn over_ipv4(&self) -> serde_json::Value {
        serde_json::json!({ "name": self.name, "address": self.addresses.0 })
    }
}
