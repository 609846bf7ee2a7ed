//! Commands that ask no node say what only the node could know, and take nothing for a drop that is none.

use std::fs;
use std::process::Command;

use serde_json::{Value, json};
use testkit::project;

/// The program's files, in a directory of the test's own.
struct Files(tempfile::TempDir);

impl Files {
    /// `interface`: its name; `underlay`: the keys of its section.
    fn new(interface: &str, underlay: &str, set: &Value) -> Self {
        let files = Self(tempfile::tempdir().expect("a directory"));
        let config = format!("[interface]\nname = \"{interface}\"\n[underlay]\n{underlay}\n");
        fs::write(files.path("config.toml"), config).expect("the directory is the test's own");
        fs::write(files.path("set.json"), set.to_string()).expect("the directory is the test's own");
        files
    }

    fn path(&self, name: &str) -> String {
        self.0.path().join(name).display().to_string()
    }

    /// Runs a command with both files; returns whether it succeeds, and what it says on standard output and error.
    fn run(&self, command: &[&str]) -> (bool, String, String) {
        let files = ["--config", &self.path("config.toml"), "--set", &self.path("set.json")];
        let output = Command::new(project::pointsman()).args(command).args(files).output().expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.success(), text(&output.stdout), text(&output.stderr))
    }

    fn lookup(&self, client: &str, vip: &str) -> Value {
        let flow =
            ["lookup", "--json", "--src", client, "--dst", vip, "--protocol", "tcp", "--sport", "1", "--dport", "80"];
        let (_, said, error) = self.run(&flow);
        serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}{error}"))
    }
}

fn set(vip: &str) -> Value {
    let endpoints = json!([{ "name": "web-0", "address": "2001:db8:10::a" }]);
    json!({ "revision": "1", "services": [{ "name": "web", "vip": vip, "endpoints": endpoints }] })
}

#[test]
fn an_offline_lookup_tells_the_endpoint_and_what_it_cannot_see() {
    let answer = Files::new("nowhere0", "", &set("203.0.113.10")).lookup("198.51.100.7", "203.0.113.10");
    assert_eq!(answer["endpoint"], "web-0");
    assert_eq!((&answer["next_hop"], &answer["mtu"]), (&Value::Null, &Value::Null));
    let reason = answer["reason"].as_str().expect("a sentence");
    let end = "outer source and next hop and MTU come from nowhere0, which is not looked at offline";
    assert!(reason.ends_with(end) && !reason.contains("dropped"), "{reason}");
    assert_eq!(answer["icmp_errors"], "the same way");
}

#[test]
fn an_offline_lookup_knows_what_the_config_says() {
    let underlay = "source_v6 = \"2001:db8:51b::1\"\nnext_hop = \"02:00:00:00:00:fe\"\nmtu = 1400";
    let answer = Files::new("nowhere0", underlay, &set("203.0.113.10")).lookup("198.51.100.7", "203.0.113.10");
    assert_eq!((&answer["next_hop"], &answer["mtu"]), (&json!("02:00:00:00:00:fe"), &json!(1356)));
    let reason = answer["reason"].as_str().expect("a sentence");
    assert!(reason.ends_with("; next hop 02:00:00:00:00:fe"), "{reason}");
    // Of the family that no endpoint has nothing is missing.
    let underlay = "source_v6 = \"2001:db8:51b::1\"\nmtu = 1400";
    let answer = Files::new("nowhere0", underlay, &set("203.0.113.10")).lookup("198.51.100.7", "203.0.113.10");
    let reason = answer["reason"].as_str().expect("a sentence").to_owned();
    assert!(reason.ends_with("; next hop comes from nowhere0, which is not looked at offline"), "{reason}");
    assert_eq!(answer["mtu"], 1356);
}

#[test]
fn a_lookup_of_a_martian_says_what_becomes_of_it() {
    for (client, vip) in [("127.0.0.1", "203.0.113.10"), ("203.0.113.10", "203.0.113.10"), ("fe80::1", "2001:db8:1::1")]
    {
        let answer = Files::new("nowhere0", "", &set(vip)).lookup(client, vip);
        let reason = answer["reason"].as_str().expect("a sentence");
        assert!(reason.starts_with("dropped: martian_source"), "{reason}");
    }
}

/// The loopback of this machine is no interface to send from, but it is there, and has no address of global scope.
#[test]
fn a_check_warns_of_endpoints_without_an_outer_source_where_the_interface_is_there() {
    let (succeeds, said, warned) = Files::new("nowhere0", "", &set("203.0.113.10")).run(&["check"]);
    assert!(succeeds && warned.is_empty(), "{said}{warned}");
    let source = "source_v6 = \"2001:db8:51b::1\"";
    for (underlay, is_warned) in [("", true), (source, false)] {
        let (succeeds, said, warned) = Files::new("lo", underlay, &set("203.0.113.10")).run(&["check"]);
        assert!(succeeds, "{said}{warned}");
        assert_eq!(
            warned.contains("no outer source address of its family; set underlay.source_v6"),
            is_warned,
            "{warned}"
        );
    }
}

#[test]
fn a_check_holds_each_family_of_vips_against_the_configured_mtu() {
    for (mtu, vip, refused) in [
        (
            1_323,
            "2001:db8:1::1",
            Some(
                "leaves 1279 of 1323 bytes to \"web-0\"; IPv6 needs 1280 (RFC 7676): set underlay.mtu to at least 1324",
            ),
        ),
        (1_324, "2001:db8:1::1", None),
        (112, "203.0.113.10", None),
        (
            111,
            "203.0.113.10",
            Some("leaves 67 of 111 bytes to \"web-0\"; IPv4 needs 68 (RFC 791): set underlay.mtu to at least 112"),
        ),
    ] {
        let underlay = format!("source_v6 = \"2001:db8:51b::1\"\nmtu = {mtu}");
        let (succeeds, said, error) = Files::new("nowhere0", &underlay, &set(vip)).run(&["check"]);
        assert_eq!(succeeds, refused.is_none(), "{mtu}: {said}{error}");
        assert!(refused.is_none_or(|refused| error.contains(refused)), "{error}");
    }
}
