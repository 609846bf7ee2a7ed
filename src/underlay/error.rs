//! What can go wrong between this node and its kernel.

use std::io;

use ipnet::IpNet;

/// Why the kernel's routes and neighbours cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum UnderlayError {
    /// The name in the configuration is not that of an interface.
    #[error("no interface named {name}; there are: {there}")]
    NoInterface {
        /// The name asked for.
        name: String,
        /// The names that exist, with commas.
        there: String,
    },
    /// The interface carries no Ethernet frames.
    #[error("the interface {name} has no MAC address; pointsman needs an Ethernet interface")]
    NotEthernet {
        /// The interface's name.
        name: String,
    },
    /// A netlink call failed.
    #[error("cannot {doing} over netlink: {source}")]
    Netlink {
        /// What was tried.
        doing: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel lets only CAP_NET_ADMIN ask for neighbours to be resolved.
    #[error("not permitted to have neighbours resolved; give pointsman the capability CAP_NET_ADMIN")]
    NotPermitted,
    /// The kernel lets only CAP_NET_ADMIN change routes.
    #[error("not permitted to change the VIP routes; give pointsman the capability CAP_NET_ADMIN")]
    RoutesNotPermitted,
    /// A VIP's route was refused; "File exists": somebody else has one of the same prefix and metric.
    #[error("the blackhole route of the VIP {vip} cannot be {what}: {source}")]
    VipRoute {
        /// The VIP.
        vip: IpNet,
        /// "added" or "removed".
        what: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// An answer did not come, or could not be read.
    #[error("the kernel's answer is incomplete while trying to {doing}")]
    Incomplete {
        /// What was tried.
        doing: &'static str,
    },
}

impl UnderlayError {
    /// For `map_err`: a failed call, with what it was for.
    pub(super) fn netlink(doing: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Netlink { doing, source }
    }
}
