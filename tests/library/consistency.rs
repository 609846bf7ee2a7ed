//! The promises of section 7 of the contract, by the simulator of `bench/consistency` with few flows: what a change of
//! endpoints breaks, and what is tracked for it.

use testkit::simulator::report::describe;
use testkit::simulator::run::{Outcome, run};
use testkit::simulator::scenarios::{Scenario, all};

const FLOWS: usize = 20_000;

fn scenario(name: &str) -> Scenario {
    all().into_iter().find(|scenario| scenario.name == name).expect("a scenario of this name")
}

/// Runs one and has it keep its promises.
fn check(name: &str) -> Outcome {
    let scenario = scenario(name);
    let outcome = run(&scenario, FLOWS, |_| ());
    assert!(scenario.missed(&outcome).is_empty(), "{}", describe(&scenario, &outcome));
    outcome
}

macro_rules! scenarios {
    ($($test:ident: $name:literal,)+) => { $(
        #[test]
        fn $test() {
            check($name);
        }
    )+ };
}

scenarios! {
    a_rolling_update_breaks_no_flow: "rolling",
    nor_does_it_with_an_upgrade_in_the_middle: "rolling-upgrade",
    nor_does_it_under_a_flood: "rolling-flood",
    nor_where_tables_change_their_size: "rolling-resized",
    one_endpoint_replaced_tracks_few: "replace-one",
    more_endpoints_break_no_flow: "scale-up",
    nor_in_default_tables: "scale-up-default",
    nor_in_larger_ones: "scale-up-resized",
    the_loss_of_an_endpoint_breaks_no_flow_of_others: "loss",
    changes_within_a_window_break_no_flow: "twice",
    a_node_with_the_same_history_keeps_older_flows: "takeover",
    a_node_without_history_does_too: "takeover-new",
    also_where_the_table_has_grown: "takeover-resized",
}

#[test]
fn maglev_alone_breaks_many_and_rare_speakers_are_seen_to_be_lost() {
    let outcome = check("rolling-rare");
    let [own, maglev, full] = outcome.fates.map(|fates| fates.broken);
    assert!(own > 0 && own < maglev / 10, "{own} broken, {maglev} by Maglev alone, {full} by full tracking");
}

#[test]
fn every_run_is_the_same() {
    let fates = || run(&scenario("rolling-rare"), FLOWS / 10, |_| ()).fates;
    assert_eq!(fates(), fates());
}
