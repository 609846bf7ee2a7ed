//! An endpoint that is a stock kernel with its own tunnel devices, so that what pointsman sends is read by somebody else's code.

use std::sync::{Arc, Mutex, MutexGuard};

use super::shared::{Shared, turn};
use super::{Guest, Hardware, Image, Kernel, plug_in};
use crate::Topology;

/// Tunnels of every kind.
const MODULES: [&str; 11] = [
    "virtio_pci",
    "virtio_net",
    "ip_gre",
    "ip6_gre",
    "ipip",
    "sit",
    "ip6_tunnel",
    "fou",
    "fou6",
    "mpls_router",
    "mpls_gso",
];

/// `GET /cgi-bin/who` answers `stock CLIENT-ADDRESS`, `POST` answers `stock LENGTH`.
const WHO: &str = r#"#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
if [ "$REQUEST_METHOD" = POST ]; then echo "stock $(head -c "$CONTENT_LENGTH" | wc -c)"; else echo "stock $REMOTE_ADDR"; fi
"#;

/// One guest on one network for all tests of a process that need it at the same time.
static SHARED: Shared<EndpointGuest> = Shared::new();

/// A booted kernel on the bridge of a topology, whose tests each have a network namespace of their own in it.
pub struct EndpointGuest {
    guest: Guest,
    topology: Arc<Topology>,
    tests: u32,
}

impl EndpointGuest {
    /// The one that this process's tests share.
    pub fn shared() -> Arc<Mutex<Self>> {
        SHARED.get(Self::boot)
    }

    fn boot() -> Self {
        let (topology, kernel) = (Arc::new(Topology::new(1)), Kernel::stock());
        let hardware = Hardware { cores: 1, memory: 256, queues: 1, dma: false };
        plug_in(topology.fabric(), hardware);
        let image = Image::new(&kernel, &MODULES);
        image.add_script("www/cgi-bin/who", WHO);
        let guest = Guest::boot(&kernel, hardware, topology.fabric(), image);
        Self { guest, topology, tests: 0 }
    }

    /// A test's turn: the kernel with its link `eth0` up in a network namespace that nobody has had, with the devices that the
    /// modules make by themselves.
    pub fn turn(shared: &Mutex<Self>) -> Turn<'_> {
        let mut endpoint = turn(shared);
        endpoint.tests += 1;
        let name = endpoint.name();
        endpoint.guest.run(&format!("ip netns add {name} && ip link set eth0 netns {name}"));
        let mut turn = Turn { endpoint };
        turn.run("ip link set lo up");
        for key in ["ipv4/conf/all/rp_filter", "ipv4/conf/eth0/rp_filter", "ipv4/conf/default/rp_filter"] {
            turn.run(&format!("echo 0 > /proc/sys/net/{key}"));
        }
        turn.run("ip link set eth0 up");
        turn
    }

    fn name(&self) -> String {
        format!("test{}", self.tests)
    }
}

/// See [`EndpointGuest::turn`]. When it is dropped, the namespace goes, and with it all that the test has made.
pub struct Turn<'a> {
    endpoint: MutexGuard<'a, EndpointGuest>,
}

impl Turn<'_> {
    /// Runs a line of shell in the test's namespace and returns what it printed; panics where it fails.
    pub fn run(&mut self, line: &str) -> String {
        let line = format!("ip() {{ /bin/ip \"$@\"; }}; {line}").replace('\'', r"'\''");
        let name = self.endpoint.name();
        self.endpoint.guest.run(&format!("/bin/ip netns exec {name} sh -c '{line}'"))
    }

    /// The network that it is on.
    pub fn topology(&self) -> Arc<Topology> {
        self.endpoint.topology.clone()
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let name = self.endpoint.name();
        // Its servers end, its link goes back to where it came from.
        let (said, code) = self.endpoint.guest.try_run(&format!(
            "kill $(ip netns pids {name}) 2>/dev/null; ip -n {name} link set eth0 netns 1; ip netns delete {name}"
        ));
        if code != 0 {
            eprintln!("the namespace {name} of the guest does not go: {said}");
        }
    }
}
