use super::*;
use crate::snapshot::Tag;
use crate::underlay::event::Vlan;
use crate::wire::ethernet::MacAddress;

const MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 1]);
const GATEWAY_MAC: MacAddress = MacAddress([2, 0, 0, 0, 0, 0xfe]);

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

fn news(index: u32, name: &str, up: bool) -> LinkNews {
    LinkNews { index, name: name.into(), mac: Some(MAC), mtu: 1500, up, vlan: None }
}

fn neighbour(interface: u32, address: &str, known: Option<Neighbour>) -> Event {
    Event::Neighbour(Gateway { interface, address: ip(address) }, known)
}

fn dump() -> Vec<Event> {
    vec![Event::Link(news(1, "lo", true)), Event::Link(news(2, "eth0", true)), Event::Link(news(3, "eth1", true))]
}

/// A state with one target behind a resolved gateway.
fn following(target: &str) -> State {
    let mut state = State::new("eth0", dump()).expect("eth0 is there");
    state.set_targets(&[ip(target)].into());
    assert_eq!(state.take_unsure(), [ip(target)].into());
    state.set_routes([(ip(target), Route::Via { interface: 2, gateway: ip("192.0.2.254") })]);
    state.apply(neighbour(2, "192.0.2.254", Some(Neighbour::Reachable(GATEWAY_MAC))));
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
        "the route to 198.51.100.1 leaves by eth1, and tunnels use eth0 and the 802.1Q VLANs on it only"
    );
    assert_eq!(
        reason(Some(Route::Via { interface: 2, gateway: ip("fe80::1") }), None),
        "the neighbour fe80::1 on the way to 198.51.100.1 is not resolved yet"
    );
    assert_eq!(
        reason(None, Some(neighbour(2, "fe80::1", Some(Neighbour::Failed)))),
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
    state.set_targets(&[ip("198.51.100.1"), ip("203.0.113.1"), ip("2001:db8::1")].into());
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
    state.apply(neighbour(2, "192.0.2.254", Some(Neighbour::Stale(GATEWAY_MAC))));
    state.apply(neighbour(3, "192.0.2.254", Some(Neighbour::Failed)));
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
    state.set_targets(&[ip("203.0.113.1")].into());
    assert_eq!(state.take_unsure(), [ip("203.0.113.1")].into());
    assert!(matches!(state.next_hop(ip("198.51.100.1")), Err(NoNextHop::NotATarget { .. })));
    assert!(state.due(Instant::now(), 9).is_empty());
}

const TARGET: &str = "198.51.100.1";
const VLAN_MAC: MacAddress = MacAddress([2, 0, 0, 0, 1, 0]);

fn vlan_news(index: u32, up: bool) -> LinkNews {
    LinkNews { mac: Some(VLAN_MAC), vlan: Some(Vlan { parent: 2, id: 100 }), ..news(index, "eth0.100", up) }
}

/// A state with one target behind a resolved gateway on a VLAN device of this number.
fn following_vlan(index: u32) -> State {
    let mut state = State::new("eth0", dump()).expect("eth0 is there");
    state.set_targets(&[ip(TARGET)].into());
    state.apply(Event::Link(vlan_news(index, true)));
    move_to(&mut state, index);
    state
}

/// The route and its neighbour are on this interface from now on.
fn move_to(state: &mut State, interface: u32) {
    assert_eq!(state.take_unsure(), [ip(TARGET)].into());
    state.set_routes([(ip(TARGET), Route::Via { interface, gateway: ip("192.0.2.254") })]);
    assert_eq!(state.due(Instant::now(), 9), [Gateway { interface, address: ip("192.0.2.254") }]);
    state.apply(neighbour(interface, "192.0.2.254", Some(Neighbour::Reachable(GATEWAY_MAC))));
    assert!(state.take_changes().next_hops);
}

const TAGGED: NextHop = NextHop { destination: GATEWAY_MAC, source: VLAN_MAC, tag: Tag::Fixed(100) };

#[test]
fn by_a_vlan_device_frames_leave_tagged_and_from_its_address() {
    let mut state = following_vlan(7);
    assert_eq!(state.next_hop(ip(TARGET)), Ok(TAGGED));
    // The same address on the interface itself is somebody else.
    state.apply(neighbour(2, "192.0.2.254", Some(Neighbour::Failed)));
    assert!(!state.take_changes().any());
    assert_eq!(state.next_hop(ip(TARGET)), Ok(TAGGED));
}

#[test]
fn only_vlan_devices_of_the_interface_lead_out_by_it() {
    let mut state = State::new("eth0", dump()).expect("eth0 is there");
    state.set_targets(&[ip(TARGET)].into());
    state.apply(Event::Link(LinkNews { vlan: Some(Vlan { parent: 3, id: 100 }), ..news(8, "eth1.100", true) }));
    state.set_routes([(ip(TARGET), Route::Via { interface: 8, gateway: ip("192.0.2.254") })]);
    state.apply(neighbour(8, "192.0.2.254", Some(Neighbour::Reachable(GATEWAY_MAC))));
    assert!(state.due(Instant::now(), 9).is_empty());
    let reason = state.next_hop(ip(TARGET)).expect_err("by another interface").to_string();
    assert_eq!(
        reason,
        "the route to 198.51.100.1 leaves by eth1.100, and tunnels use eth0 and the 802.1Q VLANs on it only"
    );
}

#[test]
fn a_vlan_device_is_down_by_itself_or_with_the_interface() {
    let mut state = following_vlan(7);
    for (news, name) in [(vlan_news(7, false), "eth0.100"), (news(2, "eth0", false), "eth0")] {
        let up = LinkNews { up: true, ..news.clone() };
        state.apply(Event::Link(news));
        assert!(state.take_changes().next_hops);
        assert_eq!(state.take_unsure().len(), 1);
        let reason = state.next_hop(ip(TARGET)).expect_err("down").to_string();
        assert_eq!(reason, format!("the interface {name} on the way to 198.51.100.1 is down"));
        state.apply(Event::Link(up));
        assert!(state.take_changes().next_hops);
        assert_eq!(state.next_hop(ip(TARGET)), Ok(TAGGED));
    }
}

#[test]
fn neighbours_on_a_vlan_device_are_asked_while_it_is_up_and_at_once_when_it_comes_up() {
    let (mut state, now) = (following_vlan(7), Instant::now());
    state.apply(neighbour(7, "192.0.2.254", Some(Neighbour::Failed)));
    let due = state.due(now, 9);
    assert_eq!(due.len(), 1);
    state.tried(&due, now);
    assert!(state.due(now, 9).is_empty(), "a pause");
    state.apply(Event::Link(vlan_news(7, false)));
    assert!(state.due(now + std::time::Duration::from_secs(60), 9).is_empty(), "no frame can leave");
    state.apply(Event::Link(vlan_news(7, true)));
    assert_eq!(state.due(now, 9), due);
}

#[test]
fn another_address_of_a_vlan_device_is_another_next_hop() {
    let mut state = following_vlan(7);
    let mac = MacAddress([2, 0, 0, 0, 1, 1]);
    state.apply(Event::Link(LinkNews { mac: Some(mac), ..vlan_news(7, true) }));
    assert_eq!(state.take_changes(), Changes { next_hops: true, link: false });
    assert_eq!(state.next_hop(ip(TARGET)), Ok(NextHop { source: mac, ..TAGGED }));
}

#[test]
fn a_vlan_device_that_goes_and_comes_back_under_another_number() {
    let mut state = following_vlan(7);
    state.apply(Event::LinkGone(7));
    assert_eq!(state.take_changes(), Changes { next_hops: true, link: false });
    assert!(state.next_hop(ip(TARGET)).is_err());
    assert!(!state.apply(Event::Link(vlan_news(9, true))), "it is not the interface itself");
    move_to(&mut state, 9);
    assert_eq!(state.next_hop(ip(TARGET)), Ok(TAGGED));
}

#[test]
fn a_neighbour_that_the_kernels_table_has_no_room_for_is_said() {
    let (target, gateway) = (ip("2001:db8::1"), ip("fe80::2"));
    let mut state = following("2001:db8::1");
    state.set_routes([(target, Route::Via { interface: 2, gateway })]);
    state.refuse(vec![Gateway { interface: 2, address: gateway }]);
    assert_eq!(
        state.next_hop(target).expect_err("no next hop").to_string(),
        "the kernel's neighbour table has no room for fe80::2 on the way to 2001:db8::1"
    );
    assert_eq!(state.demand(Family::V6), Demand { needed: 1, refused: 1 });
    state.apply(neighbour(2, "fe80::2", Some(Neighbour::Reachable(GATEWAY_MAC))));
    assert!(state.next_hop(target).is_ok());
    assert_eq!(state.demand(Family::V6).refused, 0);
}
