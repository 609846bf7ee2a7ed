//! What can keep a namespace from becoming an endpoint.

use std::error::Error;
use std::io;
use std::net::IpAddr;
use std::path::PathBuf;

/// Why the endpoint could not be configured.
#[derive(Debug, thiserror::Error)]
pub enum EndpointError {
    /// There is nothing to accept packets for.
    #[error("no VIP given; name at least one, as in --vip 203.0.113.10")]
    NoVip,
    /// A VIP that no host can have.
    #[error("{0} cannot be a VIP; give a unicast address")]
    NotUnicast(IpAddr),
    /// The namespace has no interface of this name.
    #[error("no interface named {0} in this network namespace")]
    NoInterface(String),
    /// The network namespace cannot be entered.
    #[error("cannot enter the network namespace {path}: {source}")]
    Netns {
        /// The path given.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// A capability is missing.
    #[error("not permitted to {doing}; give pointsman {capabilities}")]
    NotPermitted {
        /// What was tried.
        doing: String,
        /// What it takes.
        capabilities: &'static str,
    },
    /// Another program already sits on the interface.
    #[error(
        "the interface {interface} already has the XDP program {program}, which is not pointsman's; detach it first"
    )]
    ForeignProgram {
        /// The interface's name.
        interface: String,
        /// The program's name.
        program: String,
    },
    /// The kernel refused a request.
    #[error("cannot {doing}: {source}")]
    Kernel {
        /// What was tried.
        doing: String,
        /// What the kernel said.
        source: io::Error,
    },
    /// The XDP program, or its map, could not be made or read.
    #[error("cannot {doing}: {source}")]
    Program {
        /// What was tried.
        doing: &'static str,
        /// What the loader said.
        source: Box<dyn Error + Send + Sync>,
    },
}

impl EndpointError {
    /// A refused netlink request.
    pub(super) fn kernel(doing: impl Into<String>, source: io::Error) -> Self {
        let doing = doing.into();
        if is_lack_of_permission(&source) {
            return Self::NotPermitted { doing, capabilities: "the capability CAP_NET_ADMIN" };
        }
        Self::Kernel { doing, source }
    }

    /// For `map_err`: a failed call about the program or its map.
    pub(super) fn program<E: Error + Send + Sync + 'static>(
        doing: &'static str,
        capabilities: &'static str,
    ) -> impl FnOnce(E) -> Self {
        move |source| {
            if cause(&source).is_some_and(is_lack_of_permission) {
                return Self::NotPermitted { doing: doing.into(), capabilities };
            }
            Self::Program { doing, source: source.into() }
        }
    }

    /// A network namespace that was not entered.
    pub(super) fn netns(path: PathBuf, source: io::Error) -> Self {
        if source.raw_os_error() == Some(libc::EPERM) {
            let doing = format!("enter the network namespace {}", path.display());
            return Self::NotPermitted { doing, capabilities: "the capability CAP_SYS_ADMIN" };
        }
        Self::Netns { path, source }
    }
}

fn is_lack_of_permission(error: &io::Error) -> bool {
    error.raw_os_error() == Some(libc::EPERM)
}

/// The kernel's answer at the bottom of an error.
fn cause<'a>(error: &'a (dyn Error + 'static)) -> Option<&'a io::Error> {
    match error.downcast_ref() {
        Some(answer) => Some(answer),
        None => cause(error.source()?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_error_names_what_to_mend() {
        let permission = || io::Error::from_raw_os_error(libc::EPERM);
        let errors = [
            (EndpointError::NoVip, "--vip"),
            (EndpointError::NoInterface("eth7".into()), "eth7"),
            (EndpointError::kernel("bring up lo", permission()), "CAP_NET_ADMIN"),
            (EndpointError::program("load it", "CAP_BPF")(permission()), "CAP_BPF"),
            (EndpointError::netns("/run/netns/pod".into(), permission()), "CAP_SYS_ADMIN"),
            (EndpointError::netns("/run/netns/pod".into(), io::ErrorKind::NotFound.into()), "/run/netns/pod"),
        ];
        for (error, word) in errors {
            assert!(error.to_string().contains(word), "{error}");
        }
    }
}
