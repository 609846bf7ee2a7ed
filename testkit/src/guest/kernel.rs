//! Debian's kernels for guests, as `scripts/fetch-guest-kernel` lays them out.

use std::collections::HashMap;
use std::fs;
use std::path::PathBuf;

use crate::project;

/// A kernel and its modules.
#[derive(Clone, Debug)]
pub struct Kernel {
    directory: PathBuf,
}

impl Kernel {
    /// That of Debian 12, which has the tunnel devices, VLANs, bonds and VRFs that a machine's own may lack.
    pub fn stock() -> Self {
        Self { directory: project::file("target/guest/stock") }
    }

    /// The newest, whose virtio-net shares packet memory with AF_XDP sockets.
    pub fn recent() -> Self {
        Self { directory: project::file("target/guest/recent") }
    }

    /// Whether it has been fetched.
    pub fn is_there(&self) -> bool {
        self.image().exists()
    }

    /// What qemu boots.
    pub fn image(&self) -> PathBuf {
        self.directory.join("vmlinuz")
    }

    /// Such as `6.1.0-50-cloud-amd64`.
    pub fn version(&self) -> String {
        fs::read_to_string(self.directory.join("version")).expect("it is there with the kernel").trim().to_owned()
    }

    /// The files of these modules and of all that they need, in the order in which they are to be loaded. What the kernel has
    /// built in is left out.
    pub fn modules(&self, names: &[&str]) -> Vec<PathBuf> {
        let root = self.directory.join("modules");
        let list = fs::read_to_string(root.join("modules.dep")).expect("it is there with the kernel");
        let needs: HashMap<&str, (&str, &str)> =
            list.lines().filter_map(|line| line.split_once(':')).map(entry).collect();
        let mut files: Vec<&str> = Vec::new();
        for (file, before) in names.iter().filter_map(|name| needs.get(name)) {
            // Of what a module needs, the last comes first.
            for needed in before.split_whitespace().rev().chain([*file]) {
                if !files.contains(&needed) {
                    files.push(needed);
                }
            }
        }
        files.into_iter().map(|file| root.join(file)).collect()
    }
}

/// A line of modules.dep by the module's name, which is the file's up to its first point.
fn entry<'a>((file, needs): (&'a str, &'a str)) -> (&'a str, (&'a str, &'a str)) {
    let name = file.rsplit('/').next().and_then(|name| name.split('.').next());
    (name.unwrap_or(file), (file, needs))
}
