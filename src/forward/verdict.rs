//! What became of a packet.

use crate::maglev;
use crate::vip_map::ServiceIndex;

/// What becomes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// To an endpoint; the frame now holds the outer packet.
    Forwarded(ServiceIndex, maglev::Index),
    /// Back to its sender; the frame now holds the answer.
    Answered(ServiceIndex),
    /// Nowhere. The service is known where the packet got as far as one.
    Dropped(DropReason, Option<ServiceIndex>),
    /// It is not for a VIP, so it is the kernel's.
    Passed,
}

macro_rules! drop_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident = $name:literal,)+) => {
        /// Why a packet was dropped. Each has a counter; `docs/drop-reasons.md` says what to do about it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub enum DropReason { $($(#[doc = $doc])+ $variant,)+ }

        impl DropReason {
            /// Every reason, in the order of their numbers.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The reason's name in counters and reports.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }
        }
    };
}

drop_reasons! {
    /// Fewer bytes than a header, or than the lengths in the headers claim.
    Truncated = "truncated",
    /// The headers contradict themselves, or have more extension headers than are walked.
    Malformed = "malformed",
    /// It came in although its destination is no VIP, as can happen in the moment in which a VIP is removed.
    NotAVip = "not_a_vip",
    /// Its source is one that nobody elsewhere can have: unspecified, loopback, link-local, multicast, reserved, or the VIP
    /// itself.
    MartianSource = "martian_source",
    /// Its frame is for a group of stations or for all of them, or names a group as its sender.
    GroupFrame = "group_frame",
    /// What another version of pointsman has counted, before an upgrade from it, for a reason that this one does not have.
    OtherVersion = "other_version",
    /// TTL or hop limit 0.
    TtlExpired = "ttl_expired",
    /// A later fragment of a packet whose first one has not been seen, or too long ago.
    FragmentWithoutFirst = "fragment_without_first",
    /// A part of a fragmented ping that the node would answer, or of a fragmented ICMP error.
    FragmentedIcmp = "fragmented_icmp",
    /// An ICMP error whose quote is too short, broken, or does not show which flow it speaks of.
    QuoteUnreadable = "quote_unreadable",
    /// An ICMP error about a packet that the VIP did not send.
    QuoteNotFromVip = "quote_not_from_vip",
    /// The VIP has no service for its protocol and port.
    NoService = "no_service",
    /// The service's `allow` does not hold its source.
    NotAllowed = "not_allowed",
    /// A ping that the node would answer, and that names others whom it has to visit first.
    SourceRouted = "source_routed",
    /// A ping that the node would answer, with an option that it does not know, and may not ignore.
    UnknownOption = "unknown_option",
    /// A tunnelled packet of this node that has come back.
    Loop = "loop",
    /// The service has no endpoint that takes new flows.
    NoEndpoint = "no_endpoint",
    /// The node has no outer source address of the endpoint's family.
    NoOuterSource = "no_outer_source",
    /// Larger than fits on the way to the endpoint, may not be cut, and its sender could not be told.
    TooBig = "too_big",
    /// The kernel knows no route to the endpoint, or its next hop does not answer.
    NoNextHop = "no_next_hop",
    /// No room before the packet for the outer headers.
    NoHeadroom = "no_headroom",
    /// No free frame for the parts of a packet that had to be cut.
    NoFrame = "no_frame",
}

impl DropReason {
    /// How many there are.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_differ_and_numbers_are_places() {
        let names: std::collections::BTreeSet<_> = DropReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), DropReason::COUNT);
        assert!(DropReason::ALL.iter().enumerate().all(|(i, reason)| *reason as usize == i));
    }
}
