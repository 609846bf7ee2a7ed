//! An endpoint: a namespace with the VIPs on its loopback, `pointsman endpoint`, and servers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::{Namespace, http, project, udp};

/// An endpoint with its servers.
pub struct Endpoint {
    /// Its name, which is what its servers answer.
    pub name: String,
    /// Its addresses in the underlay.
    pub addresses: (Ipv4Addr, Ipv6Addr),
    /// Where it runs.
    pub namespace: Namespace,
    /// Its HTTP server.
    pub http: http::Server,
    _echoes: Vec<udp::Echo>,
}

impl Endpoint {
    /// Runs `pointsman endpoint` and starts the servers in a namespace that is already on the network.
    pub fn start(namespace: Namespace, name: &str, addresses: (Ipv4Addr, Ipv6Addr), vips: &[IpAddr]) -> Self {
        let program = project::pointsman();
        let program = program.to_str().expect("the project's path is text");
        let vip_texts: Vec<String> = vips.iter().map(IpAddr::to_string).collect();
        let vip_flags = vip_texts.iter().flat_map(|vip| ["--vip", vip]);
        let command: Vec<&str> = [program, "endpoint", "--interface", "eth0"].into_iter().chain(vip_flags).collect();
        namespace.run(&command);
        let server = http::Server::start(&namespace, name);
        let echoes = vips.iter().map(|&vip| udp::Echo::start(&namespace, vip, name)).collect();
        let name = name.to_owned();
        Self { name, addresses, namespace, http: server, _echoes: echoes }
    }

    /// Its entry in an endpoint set, reached over IPv6.
    pub fn over_ipv6(&self) -> serde_json::Value {
        serde_json::json!({ "name": self.name, "address": self.addresses.1 })
    }

    /// Its entry in an endpoint set, reached over IPv6, in this state.
    pub fn in_state(&self, state: &str) -> serde_json::Value {
        serde_json::json!({ "name": self.name, "address": self.addresses.1, "state": state })
    }

    /// Its entry in an endpoint set, reached over IPv4.
    pub fn over_ipv4(&self) -> serde_json::Value {
        serde_json::json!({ "name": self.name, "address": self.addresses.0 })
    }
}
