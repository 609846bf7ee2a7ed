//! The stock kernel's file system: busybox, iproute2's `ip`, the modules for tunnels and a small `/init`.

use std::fs;
use std::path::{Path, PathBuf};

use crate::booted::{Image, LOOP, find};

const MODULES: &str = "/usr/lib/uml/modules";

/// In the order in which they need each other.
const NEEDED: [&str; 16] = [
    "lib/crc-ccitt",
    "net/ipv6/ipv6",
    "net/ipv4/gre",
    "net/ipv6/tunnel6",
    "net/ipv6/ip6_tunnel",
    "net/ipv6/ip6_gre",
    "net/ipv4/ip_tunnel",
    "net/ipv4/ip_gre",
    "net/ipv4/tunnel4",
    "net/ipv4/ipip",
    "net/ipv6/sit",
    "net/ipv4/udp_tunnel",
    "net/ipv6/ip6_udp_tunnel",
    "net/ipv4/fou",
    "net/ipv6/fou6",
    "net/mpls/mpls_router",
];

/// Takes lines of shell from the console for as long as there are any, without echoing them.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
stty -echo
# The shell would take its own ip, which knows nothing of tunnels.
ip() { /bin/ip "$@"; }
for module in /modules/*.ko; do insmod $module || echo "init: cannot load $module"; done
for conf in all default vec0; do
    echo 0 > /proc/sys/net/ipv4/conf/$conf/rp_filter
    echo 0 > /proc/sys/net/ipv6/conf/$conf/accept_dad
done
ip link set lo up
ip link set vec0 up
echo "init: ready"
LOOP
poweroff -f
"#;

/// `GET /cgi-bin/who` answers `stock CLIENT-ADDRESS`, `POST` answers `stock LENGTH`.
const WHO: &str = r#"#!/bin/sh
printf 'Content-Type: text/plain\r\n\r\n'
if [ "$REQUEST_METHOD" = POST ]; then echo "stock $(head -c "$CONTENT_LENGTH" | wc -c)"; else echo "stock $REMOTE_ADDR"; fi
"#;

/// What of the needed programs and files this machine lacks.
pub fn missing() -> Option<String> {
    let program = ["linux.uml", "busybox", "cpio", "ip"].into_iter().find(|program| find(program).is_none());
    let lacks = |what: &str| format!("{what} is not installed");
    program.map(lacks).or_else(|| modules().is_none().then(|| lacks(MODULES)))
}

/// Builds it in a directory and answers the image's path.
pub fn build(directory: &Path) -> PathBuf {
    let mut image = Image::new(directory);
    let modules = modules().expect("looked for before");
    for module in NEEDED {
        image.add_module(&modules.join(format!("{module}.ko")));
    }
    image.add_script("init", &INIT.replace("LOOP", LOOP));
    image.add_script("www/cgi-bin/who", WHO);
    image.pack()
}

fn modules() -> Option<PathBuf> {
    let version = fs::read_dir(MODULES).ok()?.next()?.ok()?;
    Some(version.path().join("kernel"))
}
