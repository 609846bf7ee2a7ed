//! An edge node in a guest: a virtio-net device that shares packet memory with AF_XDP sockets.

use std::ops::{Deref, DerefMut};
use std::path::Path;

use serde_json::Value;

use super::{Guest, Hardware, Image, Kernel, plug_in};
use crate::{EDGE_V4, EDGE_V6, Metrics, Namespace, SOON, project, wait_until};

const CONFIG: &str = "/etc/pointsman.toml";
/// What the daemon says goes where the kernel speaks, too.
const LOG: &str = "/dev/ttyS0";

/// A guest in the place of a topology's edge node.
pub struct EdgeGuest {
    guest: Guest,
}

impl Deref for EdgeGuest {
    type Target = Guest;

    fn deref(&self) -> &Guest {
        &self.guest
    }
}

impl DerefMut for EdgeGuest {
    fn deref_mut(&mut self) -> &mut Guest {
        &mut self.guest
    }
}

impl EdgeGuest {
    /// Boots, with the edge node's addresses on `eth0`, on the bridge of a fabric.
    pub fn boot(fabric: &Namespace, hardware: Hardware) -> Self {
        Self::boot_with(fabric, hardware, &project::pointsman())
    }

    /// The same with another program than the usual one.
    pub fn boot_with(fabric: &Namespace, hardware: Hardware, program: &Path) -> Self {
        plug_in(fabric, hardware);
        let kernel = Kernel::recent();
        let image = Image::new(&kernel, &["virtio_pci", "virtio_net"]);
        image.add_program("ethtool");
        image.add_stripped(program, "pointsman");
        let mut guest = Guest::boot(&kernel, hardware, fabric, image);
        guest.run("ip link set eth0 up");
        guest.run(&format!("ip address add {EDGE_V4}/24 dev eth0"));
        guest.run(&format!("ip address add {EDGE_V6}/64 dev eth0 nodad"));
        Self { guest }
    }

    /// Has the daemon hand over to its own program. Where the emulation is too slow for that (a successor has a second to take
    /// a worker over) the answer is false, and the daemon goes on.
    pub fn upgrade(&mut self) -> bool {
        let (said, code) = self.try_run("pointsman upgrade 2>&1");
        assert!(code == 0 || said.contains("said nothing for"), "{said}{}", self.log());
        code == 0
    }

    /// Starts the daemon in native mode with further keys in the section `[interface]`, and waits until it is ready.
    pub fn start(&mut self, interface: &str) {
        let config = format!(
            "[node]\nname = \"edge\"\n[interface]\nname = \"eth0\"\ndriver = \"af_xdp\"\nxdp_mode = \"native\"\n{interface}\n\
             [underlay]\nsource_v4 = \"{EDGE_V4}\"\nsource_v6 = \"{EDGE_V6}\"\n[control]\ngroup = \"root\"\n\
             [handover]\ntracked_flows = 4096\n"
        );
        self.write(CONFIG, &config);
        self.start_again();
    }

    /// Starts it with the config as it is.
    pub fn start_again(&mut self) {
        self.run(&format!("(pointsman run --config {CONFIG} >{LOG} 2>&1 &)"));
        let ready = wait_until(4 * SOON, || self.try_run("pointsman status --json >/dev/null 2>&1").1 == 0);
        assert!(ready, "pointsman does not get ready:\n{}", self.log());
    }

    /// Runs the daemon with these keys, which must end it with an error, and answers its words.
    pub fn run_in_vain(&mut self, interface: &str) -> String {
        let config = format!("[interface]\nname = \"eth0\"\n{interface}\n[control]\ngroup = \"root\"\n");
        self.write(CONFIG, &config);
        let (said, code) = self.try_run(&format!("timeout 30 pointsman run --config {CONFIG} 2>&1"));
        assert_eq!(code, 1, "{said}");
        said
    }

    /// Applies an endpoint set, and waits until every endpoint can be reached.
    pub fn apply(&mut self, services: &Value) {
        let set = serde_json::json!({ "revision": "test", "services": services });
        self.write("/run/set.json", &set.to_string());
        self.run("pointsman apply --set /run/set.json");
        let reached = wait_until(2 * SOON, || {
            let status = self.json("status");
            let services = status["services"].as_array().expect("status lists the services").clone();
            services.iter().all(|service| service["unreachable"] == serde_json::json!({}))
        });
        assert!(reached, "no way to some endpoint:\n{}", self.log());
    }

    /// What `status` or `stats` says in JSON.
    pub fn json(&mut self, command: &str) -> Value {
        let said = self.run(&format!("pointsman {command} --json"));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command} --json is not JSON ({error}): {said}"))
    }

    /// A look at its counters.
    pub fn metrics(&mut self) -> Metrics {
        Metrics::new(self.json("stats"))
    }

    /// Of each worker, whether it shares packet memory with the device.
    pub fn zero_copy(&mut self) -> Vec<bool> {
        let status = self.json("status");
        let workers = status["workers"].as_array().expect("status lists the workers");
        workers.iter().map(|worker| worker["zero_copy"].as_bool().expect("it says")).collect()
    }

    /// Sends a signal to the daemon.
    pub fn signal(&mut self, signal: &str) {
        self.run(&format!("kill -{signal} $(pidof pointsman)"));
    }

    /// Sends a signal that ends the daemon, and waits until it has ended.
    pub fn end(&mut self, signal: &str) {
        self.signal(signal);
        let ended = wait_until(2 * SOON, || self.try_run("pidof pointsman >/dev/null").1 != 0);
        assert!(ended, "the daemon does not end:\n{}", self.log());
    }
}
