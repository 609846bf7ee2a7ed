//! The text of an endpoint set: refused with a path for every problem, or read as what it says.

use pointsman::control::update::Builder;
use pointsman::endpoint_set;
use pointsman::flow::Seed;
use pointsman::forward::encap::Sources;
use pointsman::maglev;
use pointsman::model::EndpointSet;
use pointsman::moment::Now;
use pointsman::snapshot::{Dscp, Settings};
use pointsman::wire::ethernet::MacAddress;
use serde_json::Value;

/// Slots of all tables that are still built: above that an input takes too long.
const MOST_SLOTS: u32 = 1 << 17;

/// One text.
pub fn run(input: &[u8]) {
    let Ok(text) = std::str::from_utf8(input) else { return };
    match endpoint_set::parse(text) {
        Ok(set) => check_set(text, &set),
        Err(problems) => match serde_json::from_str::<Value>(text) {
            Ok(tree) => super::check_problems(&problems, |problem| super::leads_into(&tree, &problem.path)),
            Err(_) => super::check_problems(&problems, |problem| problem.reason.starts_with("not JSON: ")),
        },
    }
}

fn check_set(text: &str, set: &EndpointSet) {
    let written = serde_json::to_string(set).expect("plain values");
    assert_eq!(endpoint_set::parse(&written).as_ref(), Ok(set), "what is written reads back");
    if slots(set) > MOST_SLOTS {
        return;
    }
    let mut tree: Value = serde_json::from_str(text).expect("it was read");
    turn_round(&mut tree);
    let turned = endpoint_set::read(&tree.into()).expect("order means nothing");
    assert_eq!(tables(set), tables(&turned), "the same tables in any order");
}

fn slots(set: &EndpointSet) -> u32 {
    set.services.iter().map(|service| service.table_size()).fold(0, u32::saturating_add)
}

/// Every list in reverse.
fn turn_round(tree: &mut Value) {
    match tree {
        Value::Array(items) => {
            items.reverse();
            items.iter_mut().for_each(turn_round);
        }
        Value::Object(members) => members.values_mut().for_each(turn_round),
        _ => {}
    }
}

/// A builder that has taken this set in.
pub fn build(set: &EndpointSet) -> Builder {
    let settings = Settings {
        seed: Seed([7; 16]),
        dscp: Dscp::Copy,
        underlay_mtu: 1500,
        hop_limit: 64,
        mac: MacAddress([2, 0, 0, 0, 0, 1]),
        sources: Sources::default(),
    };
    let mut builder = Builder::new(settings, 600, 1);
    builder.update(set, (0, 0), Now::at(1_795_255_200));
    builder.resolve(|_| None);
    builder
}

/// Name and fingerprint of each service; its table is looked at on the way.
fn tables(set: &EndpointSet) -> Vec<(String, String)> {
    let snapshot = build(set).snapshot();
    let check = |entry: &pointsman::snapshot::ServiceEntry| {
        let endpoints = &entry.service.endpoints;
        let takes_flows = |index: maglev::Index| endpoints[usize::from(index)].table_weight() > 0;
        assert!(entry.table.iter().all(takes_flows), "a slot of {} goes nowhere", entry.service.name);
        let takes_any = endpoints.iter().any(|endpoint| endpoint.table_weight() > 0);
        let expected = if takes_any { entry.table.size() } else { 0 };
        assert_eq!(entry.table.iter().count(), expected as usize, "a table is full or empty");
        (entry.service.name.clone(), entry.fingerprint.clone())
    };
    snapshot.services.iter().map(|entry| check(entry)).collect()
}
