//! What an edge node's daemon is to be like before it is started.

use std::fs;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::process::Command;

use super::edge::{Driver, Edge};
use super::store::Store;
use crate::process::output_of;
use crate::{EDGE_V4, EDGE_V6, Namespace};

/// A daemon in the making; without further words it is the usual one.
pub struct EdgeBuilder<'a> {
    namespace: &'a Namespace,
    driver: Driver,
    addresses: (Ipv4Addr, Ipv6Addr),
    interface: String,
    underlay: String,
    control: String,
    sections: String,
    wrapper: Vec<String>,
    room: Option<usize>,
}

impl<'a> EdgeBuilder<'a> {
    pub(super) fn new(namespace: &'a Namespace, driver: Driver) -> Self {
        Self {
            namespace,
            driver,
            addresses: (EDGE_V4, EDGE_V6),
            interface: String::new(),
            underlay: String::new(),
            // The usual group does not exist everywhere.
            control: "group = \"root\"".to_owned(),
            sections: String::new(),
            wrapper: Vec::new(),
            room: None,
        }
    }

    /// These are its outer sources, instead of the topology's.
    pub fn addresses(self, v4: Ipv4Addr, v6: Ipv6Addr) -> Self {
        Self { addresses: (v4, v6), ..self }
    }

    /// More keys for the section `[interface]`.
    pub fn interface(self, keys: &str) -> Self {
        Self { interface: keys.to_owned(), ..self }
    }

    /// More keys for the section `[underlay]`.
    pub fn underlay(self, keys: &str) -> Self {
        Self { underlay: keys.to_owned(), ..self }
    }

    /// Other keys for the section `[control]` than the group.
    pub fn control(self, keys: &str) -> Self {
        Self { control: keys.to_owned(), ..self }
    }

    /// More sections.
    pub fn sections(self, sections: &str) -> Self {
        Self { sections: sections.to_owned(), ..self }
    }

    /// The daemon's command is given to this one, such as setpriv with its flags.
    pub fn run_by(self, wrapper: &[&str]) -> Self {
        Self { wrapper: wrapper.iter().map(|word| (*word).to_owned()).collect(), ..self }
    }

    /// The service manager keeps so many descriptors from one run to the next.
    pub fn keeping_descriptors(self, room: usize) -> Self {
        Self { room: Some(room), ..self }
    }

    /// Writes the configuration, and starts the daemon.
    pub fn start(self) -> Edge<'a> {
        let mut edge = self.prepare();
        edge.run();
        edge
    }

    /// Writes the configuration for a start that comes later, and may fail.
    pub fn prepare(self) -> Edge<'a> {
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        // `ip netns exec` hides the host's /sys, and with it the usual bpffs; a mount elsewhere stays in sight.
        let bpffs = directory.path().join("bpf");
        fs::create_dir(&bpffs).expect("the directory is the test's own");
        output_of(Command::new("mount").args(["-t", "bpf", "bpf"]).arg(&bpffs));
        fs::create_dir(directory.path().join("state")).expect("the directory is the test's own");
        fs::write(directory.path().join("pointsman.toml"), self.config(directory.path()))
            .expect("the directory is the test's own");
        let store = self.room.map_or_else(Store::default, Store::with_room);
        Edge::not_started(self.namespace, directory, self.wrapper, store)
    }

    fn config(&self, directory: &Path) -> String {
        let Self { addresses: (v4, v6), interface, underlay, control, sections, .. } = self;
        let ((driver, mode), directory) = (self.driver.keys(), directory.display());
        format!(
            r#"[node]
name = "edge"
state_dir = "{directory}/state"

[interface]
name = "eth0"
driver = "{driver}"
xdp_mode = "{mode}"
pin = "{directory}/bpf/pointsman"
{interface}

[underlay]
source_v4 = "{v4}"
source_v6 = "{v6}"
{underlay}

[control]
socket = "{directory}/control.sock"
{control}

{sections}"#
        )
    }
}
