//! Where things are pinned: `<pin>/<interface>/`, and below it `guard/` for the guard's own maps.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::SteerError;

/// `BPF_FS_MAGIC` in the kernel's `linux/magic.h`.
const BPFFS_MAGIC: u32 = 0xcafe_4a11;

/// A directory on a bpffs.
#[derive(Clone, Debug)]
pub struct Pins(PathBuf);

impl Pins {
    /// The directory for an interface; not made yet.
    pub fn of(pin: &Path, interface: &str) -> Self {
        // A bpffs refuses names with a dot, which VLAN interfaces have; no interface's name has a colon.
        Self(pin.join(interface.replace('.', ":")))
    }

    /// The guard's directory for an interface; not made yet.
    pub fn of_guard(pin: &Path, interface: &str) -> Self {
        Self(Self::of(pin, interface).path("guard"))
    }

    /// This directory, which is there.
    pub fn at(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    /// The directory itself.
    pub fn directory(&self) -> &Path {
        &self.0
    }

    /// The pin of this name.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.join(name)
    }

    /// The names of the pins there are.
    pub fn names(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            let entry = entry?;
            if !entry.file_type()?.is_dir() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        Ok(names)
    }

    /// Makes the directory, where it is not there yet.
    pub fn make(&self) -> Result<(), SteerError> {
        self.check_bpffs()?;
        fs::create_dir_all(&self.0).map_err(SteerError::while_doing("make the directory for pins"))
    }

    /// Removes the pins in the directory, then the directory unless there is another in it; fine where there is none.
    pub fn remove(&self) -> Result<(), SteerError> {
        if !self.0.exists() {
            return Ok(());
        }
        // Nobody's files are to go because `pin` was misspelt.
        self.check_bpffs()?;
        self.try_remove().map_err(SteerError::while_doing("remove the pins"))
    }

    /// The same, and for the directory that this one is in.
    pub fn remove_with_parent(&self) -> Result<(), SteerError> {
        self.remove()?;
        let parent = self.0.parent().unwrap_or(&self.0);
        match fs::remove_dir(parent) {
            Err(error) if !matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::DirectoryNotEmpty) => {
                Err(SteerError::while_doing("remove the directory for pins")(error))
            }
            _ => Ok(()),
        }
    }

    fn try_remove(&self) -> io::Result<()> {
        for name in self.names()? {
            fs::remove_file(self.path(&name))?;
        }
        match fs::remove_dir(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::DirectoryNotEmpty => Ok(()),
            other => other,
        }
    }

    fn check_bpffs(&self) -> Result<(), SteerError> {
        let existing = self.0.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/"));
        let status =
            rustix::fs::statfs(existing).map_err(SteerError::while_doing("look at the file system for pins"))?;
        // The width and sign of the field differ between architectures, the lower half never does.
        if status.f_type as u32 == BPFFS_MAGIC { Ok(()) } else { Err(SteerError::NotBpffs(self.0.clone())) }
    }
}
