//! What there was before a start: one that fails takes away what it has made since, and nothing else. What an earlier run
//! has left stays, so that VIP packets are dropped as before.

use std::path::{Path, PathBuf};

use crate::config::Config;
use crate::steer::Standing;

/// What there was before a start.
pub struct Before {
    standing: Standing,
    /// The directories for the control socket that were not there, the outermost first.
    missing: Vec<PathBuf>,
}

impl Before {
    /// Looks, and changes nothing.
    pub fn look(config: &Config) -> Self {
        let above = config.control.socket.ancestors().skip(1);
        let mut missing: Vec<PathBuf> = above.take_while(|path| !path.exists()).map(Path::to_owned).collect();
        missing.reverse();
        Self { standing: Standing::look(&config.interface.pin, &config.interface.name), missing }
    }

    /// Makes all as it was; the socket itself is gone with its server.
    pub fn restore(self) {
        self.restore_directories();
        if let Err(error) = self.standing.restore() {
            tracing::error!("the start has failed, and what it has made is still there: {error}");
        }
    }

    /// The same before anything but the socket was made.
    pub fn restore_directories(&self) {
        for directory in self.missing.iter().rev() {
            // One that somebody else has put something into meanwhile stays.
            _ = std::fs::remove_dir(directory);
        }
    }
}
