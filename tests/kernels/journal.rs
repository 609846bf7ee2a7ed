//! Under systemd the daemon's words are fields of the journal. A test's socket stands in for the journal's. Needs root.

use std::collections::BTreeMap;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use serde_json::json;
use testkit::{Driver, Edge, SOON, Topology};

/// Has a command see another `/run`, with the socket of a directory as the journal's, and have standard error taken for a
/// stream to it.
const UNDER_A_JOURNAL: &str = r#"mount -t tmpfs run /run && mkdir -p /run/systemd/journal &&
    mount --bind "$0" /run/systemd/journal && JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) exec "$@""#;

#[test]
fn messages_are_fields_of_the_journal() {
    if testkit::skipped() {
        return;
    }
    let directory = tempfile::tempdir().expect("a temporary directory can be made");
    let journal = UnixDatagram::bind(directory.path().join("socket")).expect("the directory is the test's own");
    journal.set_read_timeout(Some(SOON)).expect("the timeout is not zero");
    let topology = Topology::new(1);
    let path = directory.path().display().to_string();
    let wrapper = ["unshare", "--mount", "sh", "-c", UNDER_A_JOURNAL, &path];
    let mut edge = Edge::builder(&topology.edge, Driver::Packet).run_by(&wrapper).start();
    let ready = message(&journal, "ready");
    let field = |entry: &BTreeMap<String, String>, name: &str| entry.get(name).cloned().unwrap_or_default();
    assert_eq!(field(&ready, "POINTSMAN_INTERFACE"), "eth0", "{ready:?}");
    assert_eq!(field(&ready, "POINTSMAN_DRIVER"), "af_packet");
    assert_eq!(field(&ready, "SYSLOG_IDENTIFIER"), "pointsman");
    assert_eq!(field(&ready, "TARGET"), "pointsman::daemon");

    edge.apply(json!([]));
    assert_eq!(field(&message(&journal, "applied"), "POINTSMAN_REVISION"), "test");
    assert!(edge.stop().success());
    message(&journal, "stopped");
}

/// The fields of the next entry with this message.
fn message(journal: &UnixDatagram, wanted: &str) -> BTreeMap<String, String> {
    let mut datagram = vec![0; 1 << 16];
    loop {
        let length =
            journal.recv(&mut datagram).unwrap_or_else(|error| panic!("no \"{wanted}\" in the journal: {error}"));
        let entry = entry(&datagram[..length]);
        if entry.get("MESSAGE").is_some_and(|message| message == wanted) {
            return entry;
        }
    }
}

/// The journal's native format: `NAME=VALUE` lines, or a name, a line's end, the length in 64 bits and the value.
fn entry(mut bytes: &[u8]) -> BTreeMap<String, String> {
    let mut fields = BTreeMap::new();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    while let Some(end) = bytes.iter().position(|byte| *byte == b'\n') {
        let (line, rest) = (&bytes[..end], &bytes[end + 1..]);
        bytes = match line.iter().position(|byte| *byte == b'=') {
            Some(at) => {
                fields.insert(text(&line[..at]), text(&line[at + 1..]));
                rest
            }
            None => {
                let (length, rest) = rest.split_at(8);
                let length = u64::from_le_bytes(length.try_into().expect("eight bytes")) as usize;
                fields.insert(text(line), text(&rest[..length]));
                &rest[length + 1..]
            }
        };
    }
    fields
}

/// Without a journal all is text on standard error, as everywhere else.
#[test]
fn elsewhere_messages_are_text() {
    if testkit::skipped() {
        return;
    }
    let topology = Topology::new(1);
    let wrapper = ["env", "JOURNAL_STREAM=1:1"];
    let edge = Edge::builder(&topology.edge, Driver::Packet).run_by(&wrapper).start();
    let said = || edge.log().contains("INFO pointsman::daemon: ready interface=\"eth0\" driver=\"af_packet\"");
    assert!(testkit::wait_until(Duration::from_secs(5), said), "{}", edge.log());
}
