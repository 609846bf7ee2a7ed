use super::*;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const GATEWAY_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn news(index: u32, name: &str, up: bool) -> LinkNews {
    LinkNews { index, name: name.into(), mac: Some(MAC), mtu: 1500, up }
}

fn dump() -> Vec<Event> {
    vec![Event::Link(news(1, "lo", true)), Event::Link(news(2, "eth0", true)), Event::Link(news(3, "eth1", true))]
}

/// A state with one target behind a resolved gateway.
fn following(target: &str) -> State {
    let mut state = State::new("eth0", dump()).expect("eth0 is there");
    state.set_targets([ip(target)].into());
    assert_eq!(state.take_unsure(), [ip(target)].into());
    state.set_routes([(ip(target), Route::Via { interface: 2, gateway: ip("192.0.2.254") })]);
    state.apply(Event::Neighbour(2, ip("192.0.2.254"), Some(Neighbour::Reachable(GATEWAY_MAC))));
    assert!(state.take_changes().next_hops);
    state
}

#[test]
fn a_missing_interface_is_named_with_those_that_are_there() {
    let error = State::new("eth9", dump()).expect_err("there is none");
    assert_eq!(error.to_string(), "no interface named eth9; there are: lo, eth0, eth1");
}

#[test]
fn the_next_hop_is_the_gateways_address_from_the_interfaces_own() {
    let state = following("198.51.100.1");
    assert_eq!(
        state.next_hop(ip("198.51.100.1")),
        Ok(NextHop { destination: GATEWAY_MAC, source: MAC, tag: Tag::None })
    );
}

#[test]
fn every_reason_for_none_is_a_sentence() {
    let target = ip("198.51.100.1");
    let mut state = following("198.51.100.1");
    let mut reason = |route: Option<Route>, event: Option<Event>| {
        state.set_routes(route.map(|route| (target, route)));
        event.map(|event| state.apply(event));
        state.next_hop(target).expect_err("no next hop").to_string()
    };
    assert_eq!(reason(Some(Route::None), None), "the kernel has no route to 198.51.100.1");
    assert_eq!(reason(Some(Route::Local), None), "198.51.100.1 is an address of this node");
    assert_eq!(
        reason(Some(Route::Via { interface: 3, gateway: target }), None),
        "the route to 198.51.100.1 leaves by eth1, and tunnels use eth0 only"
    );
    assert_eq!(
        reason(Some(Route::Via { interface: 2, gateway: ip("fe80::1") }), None),
        "the neighbour fe80::1 on the way to 198.51.100.1 is not resolved yet"
    );
    assert_eq!(
        reason(None, Some(Event::Neighbour(2, ip("fe80::1"), Some(Neighbour::Failed)))),
        "the neighbour fe80::1 on the way to 198.51.100.1 does not answer"
    );
    assert_eq!(
        reason(None, Some(Event::Link(news(2, "eth0", false)))),
        "the interface eth0 on the way to 198.51.100.1 is down"
    );
    assert_eq!(
        state.next_hop(ip("192.0.2.77")).expect_err("not asked for").to_string(),
        "192.0.2.77 is not among the endpoints whose routes are followed"
    );
}

#[test]
fn only_targets_under_a_changed_prefix_are_asked_for_again() {
    let mut state = State::new("eth0", dump()).expect("eth0 is there");
    state.set_targets([ip("198.51.100.1"), ip("203.0.113.1"), ip("2001:db8::1")].into());
    state.take_unsure();
    state.apply(Event::Route("198.51.100.0/24".parse().expect("a prefix")));
    assert_eq!(state.take_unsure(), [ip("198.51.100.1")].into());
    state.apply(Event::Route("::/0".parse().expect("a prefix")));
    assert_eq!(state.take_unsure(), [ip("2001:db8::1")].into());
    state.apply(Event::Routing);
    assert_eq!(state.take_unsure().len(), 3);
}

#[test]
fn news_that_changes_nothing_is_no_change() {
    let mut state = following("198.51.100.1");
    state.apply(Event::Link(news(2, "eth0", true)));
    assert!(state.take_unsure().is_empty());
    state.apply(Event::Neighbour(2, ip("192.0.2.254"), Some(Neighbour::Stale(GATEWAY_MAC))));
    state.apply(Event::Neighbour(3, ip("192.0.2.254"), Some(Neighbour::Failed)));
    state.set_routes([(ip("198.51.100.1"), Route::Via { interface: 2, gateway: ip("192.0.2.254") })]);
    assert!(!state.take_changes().any());
}

#[test]
fn changes_of_the_interface_are_told_and_doubt_the_routes() {
    let mut state = following("198.51.100.1");
    state.apply(Event::Link(LinkNews { mtu: 9000, ..news(2, "eth0", true) }));
    assert_eq!(state.take_changes(), Changes { next_hops: false, link: true });
    state.apply(Event::LinkGone(2));
    assert_eq!(state.take_changes(), Changes { next_hops: true, link: true });
    assert_eq!(state.take_unsure().len(), 1);
    assert!(state.apply(Event::Link(news(7, "eth0", true))), "it came back under another number");
}

#[test]
fn a_reload_keeps_the_targets_and_asks_for_all_routes() {
    let mut state = following("198.51.100.1");
    state.reload(vec![Event::Link(news(7, "eth0", true))]);
    assert_eq!(state.link().index, 7);
    assert_eq!(state.take_unsure().len(), 1);
    assert!(state.take_changes().next_hops);
    state.reload(vec![]);
    assert!(!state.link().up);
}

#[test]
fn targets_given_up_are_forgotten() {
    let mut state = following("198.51.100.1");
    state.set_targets([ip("203.0.113.1")].into());
    assert_eq!(state.take_unsure(), [ip("203.0.113.1")].into());
    assert!(matches!(state.next_hop(ip("198.51.100.1")), Err(NoNextHop::NotATarget { .. })));
    assert!(state.neighbours().due(std::time::Instant::now(), 9).is_empty());
}
