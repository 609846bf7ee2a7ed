//! What can keep the gate from standing, each as a sentence with what to mend.

use std::error::Error;
use std::io;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;
use thiserror::Error as ThisError;

/// Why the steering program or the guard cannot be attached, told its VIPs, or removed.
#[derive(Debug, ThisError)]
pub enum SteerError {
    /// The pins would not outlive this process.
    #[error("{} is not on a bpffs: mount -t bpf bpf /sys/fs/bpf", .0.display())]
    NotBpffs(PathBuf),
    /// No interface has this name.
    #[error("there is no interface {0}: `ip link` lists those there are")]
    NoInterface(String),
    /// The kernel says EPERM or EACCES.
    #[error("not allowed to {doing}: this needs CAP_NET_ADMIN and CAP_BPF, or root")]
    NotAllowed {
        /// What was refused.
        doing: &'static str,
    },
    /// The driver has no XDP, or not with the link's present MTU or offloads.
    #[error(
        "{interface} cannot run an XDP program in its driver ({cause}): set xdp_mode to \"generic\" or \"auto\", \
         or try a smaller MTU"
    )]
    NoNative {
        /// The interface.
        interface: String,
        /// The kernel's words.
        cause: io::Error,
    },
    /// Somebody else's program is there.
    #[error("{interface} already has {what}: remove it with `{remedy}` if nothing needs it")]
    Occupied {
        /// The interface.
        interface: String,
        /// What is there.
        what: &'static str,
        /// The command that removes it.
        remedy: String,
    },
    /// More VIPs than the kernel's maps hold.
    #[error("the VIP maps are full: at most 65536 addresses and 16384 prefixes fit")]
    Full,
    /// A queue beyond the map of sockets.
    #[error("queue {0} is beyond what the steering program serves: at most 256 queues, `ethtool -L` sets fewer")]
    TooManyQueues(u32),
    /// A program or map is not what this version expects: a defect, or a pin of another's making.
    #[error("{0} is not in the compiled program, or not of the expected kind")]
    Unexpected(&'static str),
    /// Any other failure, with what was being done.
    #[error("cannot {doing}: {}", words(.cause.as_ref()))]
    Failed {
        /// What failed.
        doing: &'static str,
        /// Why.
        cause: Box<dyn Error + Send + Sync>,
    },
}

impl SteerError {
    /// For `map_err`: what the kernel's or aya's error means for what was being `doing`.
    pub(super) fn while_doing<E: Into<Cause>>(doing: &'static str) -> impl FnOnce(E) -> Self {
        move |cause| {
            let Cause(cause) = cause.into();
            match errno(cause.as_ref()) {
                Some(libc::EPERM | libc::EACCES) => Self::NotAllowed { doing },
                _ => Self::Failed { doing, cause },
            }
        }
    }
}

/// One of the errors of aya or of the operating system.
pub(super) struct Cause(Box<dyn Error + Send + Sync>);

macro_rules! causes {
    ($($error:ty),+) => { $(impl From<$error> for Cause {
        fn from(error: $error) -> Self {
            Self(Box::new(error))
        }
    })+ };
}
causes!(EbpfError, LinkError, MapError, PinError, ProgramError, io::Error, rustix::io::Errno);
causes!(aya::programs::tc::TcError, netlink_packet_core::DecodeError);

/// The operating system's number for an error, however deep it is wrapped.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    let mut layer = Some(error);
    while let Some(error) = layer {
        if let Some(number) = error.downcast_ref::<io::Error>().and_then(io::Error::raw_os_error) {
            return Some(number);
        }
        if let Some(number) = error.downcast_ref::<rustix::io::Errno>() {
            return Some(number.raw_os_error());
        }
        layer = error.source();
    }
    None
}

/// An error and its causes in one line; aya's outer errors keep the reason to themselves.
fn words(error: &(dyn Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut layer = error.source();
    while let Some(cause) = layer {
        let cause_words = cause.to_string();
        if !line.contains(&cause_words) {
            line = format!("{line}: {cause_words}");
        }
        layer = cause.source();
    }
    line
}
