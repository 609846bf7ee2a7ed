//! What keeps this node from sending what it should, and what to do about it: `status` shows it.

use serde::Serialize;

use super::Node;
use crate::control::limits::{Lack, source_key, vip_family};
use crate::snapshot::{EndpointEntry, ServiceEntry};
use crate::underlay::Crowded;
use crate::wire::Family;

/// Problems of one kind that are told one by one.
const MOST_OF_A_KIND: usize = 20;
/// Services that one problem names.
const MOST_NAMES: usize = 3;

/// One of them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NodeProblem {
    /// What kind it is, in a word for programs.
    pub kind: &'static str,
    /// The service that it concerns; none: more than one, or the node.
    pub service: Option<String>,
    /// What is wrong and what to do, in a sentence.
    pub problem: String,
}

impl NodeProblem {
    fn of_node(kind: &'static str, problem: String) -> Self {
        Self { kind, service: None, problem }
    }
}

impl Node {
    /// All that is wrong now.
    pub(super) fn problems(&self) -> Vec<NodeProblem> {
        let mut problems: Vec<NodeProblem> =
            [Family::V6, Family::V4].into_iter().filter_map(|family| self.no_outer_source(family)).collect();
        problems.extend(self.large_mtu());
        problems.extend(self.small_mtus());
        let crowded = self.underlay().map(|underlay| underlay.crowded_tables()).unwrap_or_default();
        problems.extend(crowded.iter().map(full_table));
        problems
    }

    /// Endpoints that get nothing since this node has no address of their family to send from.
    fn no_outer_source(&self, family: Family) -> Option<NodeProblem> {
        let (mut services, mut endpoints) = (Vec::new(), 0);
        for entry in self.builder.services() {
            let all = entry.service.endpoints.iter().zip(entry.endpoints.iter());
            let without =
                all.filter(|(endpoint, ready)| ready.outer.is_none() && Family::of(endpoint.address) == family);
            let count = without.count();
            endpoints += count;
            services.extend((count > 0).then_some(entry.service.name.as_str()));
        }
        let (name, key) = (self.interface_name(), source_key(family));
        let family = family_name(family);
        (endpoints > 0).then(|| {
            let problem = format!(
                "no outer source for {family}: {} of {} cannot be sent to; give {name} a global {family} address, or \
                 set {key}",
                counted(endpoints, "endpoint"),
                some_of(&services)
            );
            NodeProblem::of_node("no_outer_source", problem)
        })
    }

    /// The config promises larger packets than the interface sends.
    fn large_mtu(&self) -> Option<NodeProblem> {
        let (configured, link) = (self.config.underlay.mtu?, self.underlay()?.link());
        let problem = format!(
            "underlay.mtu is {configured}, and {} carries {}: larger packets are lost; lower the one or raise the other",
            link.name, link.mtu
        );
        (configured > link.mtu).then(|| NodeProblem::of_node("large_mtu", problem))
    }

    /// Services with an endpoint that the MTU leaves too little room, the first some.
    fn small_mtus(&self) -> Vec<NodeProblem> {
        let mut short = self.builder.services().iter().filter_map(|entry| self.small_mtu(entry));
        let mut problems: Vec<NodeProblem> = short.by_ref().take(MOST_OF_A_KIND).collect();
        let more = short.count();
        if more > 0 {
            let problem = format!("{} too small an MTU, too", counted_have(more, "more service"));
            problems.push(NodeProblem::of_node("small_mtu", problem));
        }
        problems
    }

    fn small_mtu(&self, entry: &ServiceEntry) -> Option<NodeProblem> {
        let family = vip_family(&entry.service);
        let lack = |ready: &EndpointEntry| {
            let mtu = self.builder.paths().get(ready.path)?.mtu;
            Some((mtu, Lack::over(family, ready.outer.as_ref()?.overhead(), mtu)?))
        };
        let mut endpoints = entry.service.endpoints.iter().zip(entry.endpoints.iter());
        let (endpoint, (mtu, lack)) = endpoints.find_map(|(endpoint, ready)| Some((endpoint, lack(ready)?)))?;
        let is_lowered = mtu < self.builder.settings().underlay_mtu;
        let (who, remedy) = match self.config.underlay.mtu {
            _ if is_lowered => ("a router on the way says", "raise the MTU there to at least".to_owned()),
            Some(_) => ("underlay.mtu says", "set it to at least".to_owned()),
            None => ("the interface has", format!("raise the MTU of {} to at least", self.interface_name())),
        };
        let problem = format!(
            "{}: the MTU is too small, {who} {mtu}: that leaves {} bytes to {}, and {}; {remedy} {}",
            entry.service.name,
            lack.room,
            endpoint.name,
            lack.rule(),
            lack.needed_mtu()
        );
        Some(NodeProblem { kind: "small_mtu", service: Some(entry.service.name.clone()), problem })
    }

    fn interface_name(&self) -> &str {
        &self.config.interface.name
    }
}

/// A neighbour table of the kernel that has no room for what endpoints need.
fn full_table(table: &Crowded) -> NodeProblem {
    let Crowded { family, needed, refused, most } = *table;
    let sysctl = match family {
        Family::V4 => "net.ipv4.neigh.default",
        Family::V6 => "net.ipv6.neigh.default",
    };
    let bound = most.map_or_else(String::new, |most| format!(", which holds {most} of all namespaces together,"));
    let what = match refused {
        0 => format!("is too small for the {needed} neighbours on the way to endpoints"),
        _ => format!("has no room: {refused} of the {needed} neighbours on the way to endpoints are not in it"),
    };
    // Beyond the second threshold the kernel throws out what has been idle for five seconds.
    let enough = (needed * 2).max(most.unwrap_or(1_024) * 2).next_power_of_two();
    let problem = format!(
        "the kernel's {} neighbour table{bound} {what}; `sysctl {sysctl}.gc_thresh3={enough} {sysctl}.gc_thresh2={}`",
        family_name(family),
        enough / 2
    );
    NodeProblem::of_node("neighbour_table_full", problem)
}

fn family_name(family: Family) -> &'static str {
    match family {
        Family::V4 => "IPv4",
        Family::V6 => "IPv6",
    }
}

/// "1 endpoint", "2 endpoints".
fn counted(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// "1 more service has", "2 more services have".
fn counted_have(number: usize, what: &str) -> String {
    format!("{} {}", counted(number, what), if number == 1 { "has" } else { "have" })
}

/// The first names, and how many there are beside.
fn some_of(names: &[&str]) -> String {
    let first = names.iter().take(MOST_NAMES).copied().collect::<Vec<_>>().join(", ");
    let more = names.len().saturating_sub(MOST_NAMES);
    if more == 0 { first } else { format!("{first} and {}", counted(more, "more service")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_is_named_with_what_makes_room() {
        let table = Crowded { family: Family::V6, needed: 3_000, refused: 976, most: Some(1_024) };
        assert_eq!(
            full_table(&table).problem,
            "the kernel's IPv6 neighbour table, which holds 1024 of all namespaces together, has no room: 976 of the 3000 \
             neighbours on the way to endpoints are not in it; `sysctl net.ipv6.neigh.default.gc_thresh3=8192 \
             net.ipv6.neigh.default.gc_thresh2=4096`"
        );
    }

    #[test]
    fn a_table_that_will_be_too_small_is_named_before_it_is_full() {
        let table = Crowded { family: Family::V4, needed: 1_100, refused: 0, most: None };
        assert_eq!(
            full_table(&table).problem,
            "the kernel's IPv4 neighbour table is too small for the 1100 neighbours on the way to endpoints; \
             `sysctl net.ipv4.neigh.default.gc_thresh3=4096 net.ipv4.neigh.default.gc_thresh2=2048`"
        );
    }

    #[test]
    fn few_names_stand_for_many() {
        assert_eq!(some_of(&["a", "b"]), "a, b");
        assert_eq!(some_of(&["a", "b", "c", "d"]), "a, b, c and 1 more service");
    }
}
