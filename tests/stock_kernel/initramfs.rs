//! The stock kernel's file system: busybox, iproute2's `ip`, the modules for tunnels and a small `/init`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::find;
use crate::netns::output_of;

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
while read -r line; do eval "$line"; done
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
    let root = directory.join("root");
    for folder in ["bin", "dev", "lib64", "modules", "proc", "sys", "www/cgi-bin", "tmp"] {
        fs::create_dir_all(root.join(folder)).expect("the directory is the test's own");
    }
    let busybox = find("busybox").expect("looked for before");
    copy(Path::new(&busybox), &root.join("bin/busybox"));
    let applets = output_of(Command::new(&busybox).arg("--list"));
    for applet in String::from_utf8_lossy(&applets.stdout).lines().filter(|applet| !["ip", "busybox"].contains(applet))
    {
        symlink("busybox", root.join("bin").join(applet)).expect("a new directory");
    }
    add_ip(&root);
    let modules = modules().expect("looked for before");
    for (number, module) in NEEDED.iter().enumerate() {
        let name = module.rsplit_once('/').map_or(*module, |(_, name)| name);
        copy(&modules.join(format!("{module}.ko")), &root.join(format!("modules/{number:02}-{name}.ko")));
    }
    write_program(&root.join("init"), INIT);
    write_program(&root.join("www/cgi-bin/who"), WHO);
    let image = directory.join("initramfs");
    let pack = "cd \"$0\" && find . | cpio --quiet -o -H newc > \"$1\"";
    output_of(Command::new("sh").args(["-c", pack]).arg(&root).arg(&image));
    image
}

/// iproute2's `ip` with the libraries it names.
fn add_ip(root: &Path) {
    let program = fs::canonicalize(find("ip").expect("looked for before")).expect("it was found");
    copy(&program, &root.join("bin/ip"));
    let libraries = output_of(Command::new("ldd").arg(&program));
    for library in String::from_utf8_lossy(&libraries.stdout).split_whitespace().filter(|word| word.starts_with('/')) {
        let to = root.join(library.trim_start_matches('/'));
        fs::create_dir_all(to.parent().expect("below the root")).expect("the directory is the test's own");
        copy(Path::new(library), &to);
    }
}

fn modules() -> Option<PathBuf> {
    let version = fs::read_dir(MODULES).ok()?.next()?.ok()?;
    Some(version.path().join("kernel"))
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("cannot copy {} to {}: {error}", from.display(), to.display()));
}

fn write_program(path: &Path, text: &str) {
    fs::write(path, text).expect("the directory is the test's own");
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("the file was just written");
}
