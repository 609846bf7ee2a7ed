//! A file system to boot with: busybox, further programs with their libraries, modules and an `/init`.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::find;
use crate::netns::output_of;

const FOLDERS: [&str; 11] =
    ["bin", "dev", "etc", "lib64", "modules", "proc", "run", "sys", "tmp", "var/lib", "www/cgi-bin"];

/// An initramfs in the making.
pub struct Image {
    directory: PathBuf,
    root: PathBuf,
    modules: u32,
}

impl Image {
    /// Begins one in a directory of the test's own, with busybox and iproute2's `ip` in `/bin`.
    pub fn new(directory: &Path) -> Self {
        let image = Self { directory: directory.to_owned(), root: directory.join("root"), modules: 0 };
        for folder in FOLDERS {
            fs::create_dir_all(image.root.join(folder)).expect("the directory is the test's own");
        }
        let busybox = find("busybox").expect("looked for before");
        copy(Path::new(&busybox), &image.root.join("bin/busybox"));
        let applets = output_of(Command::new(&busybox).arg("--list"));
        let applets = String::from_utf8_lossy(&applets.stdout).into_owned();
        // Its own ip knows nothing of tunnels.
        for applet in applets.lines().filter(|applet| !["ip", "busybox"].contains(applet)) {
            symlink("busybox", image.root.join("bin").join(applet)).expect("a new directory");
        }
        image.add_program("ip");
        image
    }

    /// Adds one of the machine's programs to `/bin`, with the libraries it names.
    pub fn add_program(&self, name: &str) {
        let found = find(name).unwrap_or_else(|| panic!("{name} is not installed"));
        self.add_program_at(&fs::canonicalize(found).expect("it was found"), name);
    }

    /// The same for a program that is anywhere.
    pub fn add_program_at(&self, program: &Path, name: &str) {
        copy(program, &self.root.join("bin").join(name));
        let libraries = output_of(Command::new("ldd").arg(program));
        let libraries = String::from_utf8_lossy(&libraries.stdout).into_owned();
        for library in libraries.split_whitespace().filter(|word| word.starts_with('/')) {
            let to = self.root.join(library.trim_start_matches('/'));
            fs::create_dir_all(to.parent().expect("below the root")).expect("the directory is the test's own");
            copy(Path::new(library), &to);
        }
    }

    /// Adds a module, to be loaded after those that were added before; one that is packed is unpacked.
    pub fn add_module(&mut self, module: &Path) {
        let name = module.file_name().expect("a module is a file").to_string_lossy().into_owned();
        let to = self.root.join(format!("modules/{:02}-{}", self.modules, name.trim_end_matches(".xz")));
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
        let path = self.root.join(path);
        fs::write(&path, text).expect("the directory is the test's own");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("the file was just written");
    }

    /// Packs it, and answers where.
    pub fn pack(self) -> PathBuf {
        let image = self.directory.join("initramfs");
        let pack = "cd \"$0\" && find . | cpio --quiet -o -H newc > \"$1\"";
        output_of(Command::new("sh").args(["-c", pack]).arg(&self.root).arg(&image));
        image
    }
}

fn copy(from: &Path, to: &Path) {
    fs::copy(from, to).unwrap_or_else(|error| panic!("cannot copy {} to {}: {error}", from.display(), to.display()));
}
