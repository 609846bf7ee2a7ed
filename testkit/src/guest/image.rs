//! A file system to boot with: busybox, further programs with their libraries, modules and an `/init`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::Kernel;
use super::console::LOOP;
use crate::{Process, output_of};

const FOLDERS: [&str; 11] =
    ["bin", "dev", "etc", "lib64", "modules", "proc", "run", "sys", "tmp", "var/lib", "www/cgi-bin"];

/// Takes lines of shell from the second serial port; what the kernel says goes to the first. Programs that pin need a bpffs.
const INIT: &str = r#"#!/bin/sh
export PATH=/bin HOME=/
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
mount -t tmpfs run /run
mount -t bpf bpf /sys/fs/bpf
echo root:x:0:0:root:/:/bin/sh >/etc/passwd
echo root:x:0: >/etc/group
exec </dev/ttyS1 >/dev/ttyS1 2>&1
stty raw -echo
# The shell would take its own ip, which knows less.
ip() { /bin/ip "$@"; }
for module in /modules/*.ko; do insmod $module || echo "init: cannot load $module"; done
ip link set lo up
echo "init: ready"
LOOP
poweroff -f
"#;

/// An initramfs in the making.
pub struct Image {
    root: TempDir,
    modules: u32,
}

impl Image {
    /// Begins one with busybox, iproute2's `ip` and a shell as its `/init`, which loads these modules of a kernel and all that
    /// they need.
    pub fn new(kernel: &Kernel, modules: &[&str]) -> Self {
        let mut image = Self { root: tempfile::tempdir().expect("a temporary directory can be made"), modules: 0 };
        for folder in FOLDERS {
            fs::create_dir_all(image.path(folder)).expect("the directory is the image's own");
        }
        let busybox = Process::find("busybox").expect("looked for before");
        copy(&busybox, &image.path("bin/busybox"));
        let applets = output_of(Command::new(&busybox).arg("--list"));
        let applets = String::from_utf8_lossy(&applets.stdout).into_owned();
        // Its own ip knows nothing of tunnels.
        for applet in applets.lines().filter(|applet| !["ip", "busybox"].contains(applet)) {
            symlink("busybox", image.path("bin").join(applet)).expect("a new directory");
        }
        image.add_program("ip");
        image.add_script("init", &INIT.replace("LOOP", LOOP));
        for module in kernel.modules(modules) {
            image.add_module(&module);
        }
        image
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.path().join(path)
    }

    /// Adds one of the machine's programs to `/bin`, with the libraries it names.
    pub fn add_program(&self, name: &str) {
        let found = Process::find(name).unwrap_or_else(|| panic!("{name} is not installed"));
        self.add_program_at(&fs::canonicalize(found).expect("it was found"), name);
    }

    /// The same for a program that is anywhere.
    pub fn add_program_at(&self, program: &Path, name: &str) {
        let to = self.path("bin").join(name);
        // One of busybox's names: what is copied to a link goes to busybox.
        _ = fs::remove_file(&to);
        copy(program, &to);
        let libraries = output_of(Command::new("ldd").arg(program));
        let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = self.path(library.trim_start_matches('/'));
            fs::create_dir_all(to.parent().expect("below the root")).expect("the directory is the test's own");
            copy(Path::new(library), &to);
        }
    }

    /// The same without its debug information, of which a guest's memory would be full.
    pub fn add_stripped(&self, program: &Path, name: &str) {
        let to = self.path("stripped");
        output_of(Command::new("strip").arg("-o").arg(&to).arg(program));
        self.add_program_at(&to, name);
        fs::remove_file(to).expect("it was just made");
    }

    /// Adds a module, to be loaded after those that were added before; one that is packed is unpacked.
    fn add_module(&mut self, module: &Path) {
        let name = module.file_name().expect("a module is a file").to_string_lossy().into_owned();
        let to = self.path(&format!("modules/{:02}-{}", self.modules, name.trim_end_matches(".xz")));
        self.modules += 1;
        if name.ends_with(".xz") {
            let unpacked = output_of(Command::new("xz").args(["--decompress", "--stdout"]).arg(module));
            fs::write(to, unpacked.stdout).expect("the directory is the test's own");
        } else {
            copy(module, &to);
        }
    }

    /// Adds a script.
    pub fn add_script(&self, path: &str, text: &str) {
        let path = self.path(path);
        fs::write(&path, text).expect("the directory is the test's own");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file was just written");
    }

    /// Packs it into a directory, and returns the file.
    pub fn pack(self, into: &Path) -> PathBuf {
        let image = into.join("initramfs");
        let pack = "cd \"$0\" && find . | cpio --quiet -o -H newc > \"$1\"";
        output_of(Command::new("sh").args(["-c", pack]).arg(self.root.path()).arg(&image));
        image
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("cannot copy {} to {}: {error}", from.display(), to.display()));
}
