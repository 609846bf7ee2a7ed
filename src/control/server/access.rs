//! Who may open the control socket: its group and its mode, changed together or not at all; and who may change something.

use std::collections::HashSet;
use std::fs::Permissions;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};

use mio::net::UnixStream;

use super::{ServerError, at};
use crate::config::ControlConfig;
use crate::control::accounts;

/// Who could open a socket at some time.
pub struct Access {
    path: PathBuf,
    group: u32,
    mode: u32,
}

impl Access {
    fn of(path: &Path) -> io::Result<Self> {
        let about = std::fs::metadata(path)?;
        Ok(Self { path: path.to_owned(), group: about.gid(), mode: about.mode() & 0o7777 })
    }

    /// Lets the same users open it again. Where that cannot be, it is said.
    pub fn restore(&self) {
        let mode = Permissions::from_mode(self.mode);
        let restored = chown(&self.path, None, Some(self.group)).and(std::fs::set_permissions(&self.path, mode));
        if let Err(error) = restored {
            tracing::error!("{}: its group and mode are not as they were: {error}", self.path.display());
        }
    }
}

/// Lets those open the socket whom the config names. Answers who could before; after an error it is still those.
pub fn restrict(path: &Path, config: &ControlConfig) -> Result<Access, ServerError> {
    let before = Access::of(path).map_err(at(path.display().to_string()))?;
    match follow(path, config) {
        Ok(()) => Ok(before),
        Err(error) => {
            before.restore();
            Err(error)
        }
    }
}

fn follow(path: &Path, config: &ControlConfig) -> Result<(), ServerError> {
    let name = path.display().to_string();
    if let Some(group) = &config.group {
        let id = accounts::group_id(group).ok_or_else(|| ServerError::NoSuchGroup(group.clone()))?;
        chown(path, None, Some(id)).map_err(|error| match error.kind() {
            io::ErrorKind::PermissionDenied => ServerError::NotAMember(group.clone()),
            _ => at(name.clone())(error),
        })?;
    }
    std::fs::set_permissions(path, Permissions::from_mode(config.mode)).map_err(at(name))
}

/// The users who may change something. One that does not exist is said, and is no reason not to serve the others.
pub fn writers(config: &ControlConfig) -> HashSet<u32> {
    let known = |user: &String| {
        let id = accounts::user_id(user);
        if id.is_none() {
            tracing::warn!("control.allow_users: there is no user \"{user}\"");
        }
        id
    };
    config.allow_users.iter().filter_map(known).collect()
}

/// Whether the user at the other end is one of them.
pub fn may_write(writers: &HashSet<u32>, stream: &UnixStream) -> bool {
    let peer = rustix::net::sockopt::socket_peercred(stream).ok();
    peer.is_some_and(|peer| writers.contains(&peer.uid.as_raw()))
}
