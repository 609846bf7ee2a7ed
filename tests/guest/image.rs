//! The guest's file system: pointsman and what a node has besides, the modules for virtio-net and a small `/init`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::booted::{Image, LOOP};
use crate::netns::output_of;

/// In the order in which they need each other.
const NEEDED: [&str; 3] = ["net/core/failover", "drivers/net/net_failover", "drivers/net/virtio_net"];

/// Takes lines of shell from the second serial port; what the kernel says goes to the first. A pin needs a bpffs.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t bpf bpf /sys/fs/bpf
echo root:x:0:0:root:/:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
# The shell would take its own ip, which knows less.
ip() { /bin/ip "$@"; }
for module in /modules/*.ko; do insmod $module || echo "init: cannot load $module"; done
ip link set lo up
ip link set eth0 up
echo "init: ready"
LOOP
poweroff -f
"#;

/// The kernel's directory, as `scripts/fetch-guest-kernel` makes it.
fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/guest")
}

/// The kernel.
pub fn kernel() -> PathBuf {
    let kernel = directory().join("vmlinuz");
    assert!(kernel.exists(), "{} is missing: make test-zero-copy fetches it", kernel.display());
    kernel
}

/// Its version.
pub fn version() -> String {
    fs::read_to_string(directory().join("version")).expect("it is there with the kernel").trim().to_owned()
}

/// The program to be tested: the one that the environment names, as an operator would run it, or the one built for tests,
/// which can be told to fail.
pub fn program() -> PathBuf {
    std::env::var_os("POINTSMAN").map_or_else(|| env!("CARGO_BIN_EXE_pointsman").into(), PathBuf::from)
}

/// Builds the file system with this program in a directory and answers the image's path.
pub fn build(into: &Path, program: &Path) -> PathBuf {
    let mut image = Image::new(into);
    for module in NEEDED {
        image.add_module(&directory().join(format!("kernel/{module}.ko.xz")));
    }
    image.add_program("ethtool");
    // Of a guest's memory, debug information is most.
    let stripped = into.join("pointsman");
    output_of(Command::new("strip").arg("-o").arg(&stripped).arg(program));
    image.add_program_at(&stripped, "pointsman");
    image.add_script("init", &INIT.replace("LOOP", LOOP));
    image.pack()
}
