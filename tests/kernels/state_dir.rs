//! Two daemons with one `state_dir`: the second does not start, says who has it, and takes nothing; whatever the first one goes
//! through meanwhile. Needs root.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use serde_json::json;
use testkit::{Driver, Edge, SOON, Topology, wait_until};

const VIP: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 10));

fn state_dir(edge: &Edge<'_>) -> String {
    let socket = edge.socket();
    Path::new(&socket).with_file_name("state").display().to_string()
}

/// The words by which a daemon refuses to start while this process has its directory.
fn said(process: i32) -> String {
    format!("(process {process}, node \"edge\")")
}

#[test]
fn a_second_daemon_does_not_take_the_first_ones_state() {
    if testkit::skipped() {
        return;
    }
    let [here, there] = [1, 1].map(Topology::new);
    let mut first = Edge::start(&here.edge, Driver::Packet);
    first.apply_unreachable(json!([{ "name": "web", "vip": VIP, "endpoints": [] }]));
    let mut second = Edge::builder(&there.edge, Driver::Packet).prepare();
    second.edit_config(&state_dir(&second), &state_dir(&first));

    let words = second.run_in_vain();
    assert!(words.contains("another pointsman keeps its state in") && words.contains(&said(first.pid())), "{words}");

    // A process that fails to take over has not had it; one that succeeds has.
    first.upgrade_in_vain(&first.failing_binary("finish:fail"), "it was asked to fail");
    assert!(second.run_in_vain().contains(&said(first.pid())));
    first.upgrade();
    let now = said(first.follow_upgrades());
    assert!(wait_until(SOON, || second.run_in_vain().contains(&now)), "{}", second.run_in_vain());
    assert_eq!(first.json("status")["store_problem"], json!(null));

    // A crash lets go, and whoever comes next has the set.
    first.kill();
    second.run();
    assert_eq!(second.json("status")["revision"], "test");
    assert!(first.run_in_vain().contains(&said(second.pid())));
    assert!(second.stop().success());
    first.run();
    assert_eq!(first.json("status")["revision"], "test");
}
