//! What can keep the gate from standing, each as a sentence with what to mend.

use std::error::Error;
use std::io;
use std::iter;
use std::path::PathBuf;

use aya::EbpfError;
use aya::maps::MapError;
use aya::pin::PinError;
use aya::programs::ProgramError;
use aya::programs::links::LinkError;
use aya::programs::tc::TcError;
use netlink_packet_core::DecodeError;
use rustix::io::Errno;
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
    #[error("{interface} already has {what}; if nothing needs it, {remedy}")]
    Occupied {
        /// The interface.
        interface: String,
        /// What is there.
        what: String,
        /// What removes it, with the command.
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
causes!(EbpfError, LinkError, MapError, PinError, ProgramError, io::Error, Errno);
causes!(TcError, DecodeError);

/// The operating system's number for an error, however deep it is wrapped.
pub(super) fn errno(error: &(dyn Error + 'static)) -> Option<i32> {
    iter::successors(Some(error), |&error| error.source()).find_map(number)
}

fn number(error: &(dyn Error + 'static)) -> Option<i32> {
    if let Some(error) = error.downcast_ref::<io::Error>() {
        return error.raw_os_error();
    }
    if let Some(error) = error.downcast_ref::<Errno>() {
        return Some(error.raw_os_error());
    }
    // These speak for the error in them and name only its source, so that the chain passes it by.
    if let Some(ProgramError::TcError(error)) = error.downcast_ref() {
        return number(error);
    }
    match error.downcast_ref::<TcError>()? {
        TcError::IoError(error) => error.raw_os_error(),
        TcError::NetlinkError(error) => error.raw_os_error(),
        _ => None,
    }
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
