//! Workers that cannot be started, as where a process has all the descriptors or threads that it may have.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;

use serde_json::{Value, json};

use super::*;

static LOST: AtomicBool = AtomicBool::new(false);
static NONE_LEFT: AtomicBool = AtomicBool::new(false);
static HAS_COME: AtomicBool = AtomicBool::new(false);

#[test]
fn a_worker_that_cannot_be_started_keeps_what_it_had() {
    let opener: Opener = |config, _: &Link, _| {
        let share = || {
            let is_second = HAS_COME.load(Ordering::Relaxed);
            if is_second && NONE_LEFT.load(Ordering::Relaxed) {
                return Err(io::Error::from_raw_os_error(libc::EMFILE));
            }
            Ok(())
        };
        let receive = || {
            // Once, so that it is opened anew.
            if LOST.swap(false, Ordering::Relaxed) { Err(io::Error::from_raw_os_error(libc::EIO)) } else { Ok(()) }
        };
        let mut opened = open(config, receive)?;
        for (_, queue) in &mut opened.queues {
            let QueueIo::Test(queue) = queue else { continue };
            queue.layer.share = share;
            if !HAS_COME.load(Ordering::Relaxed) {
                // Less than a header: it is counted, and dropped.
                queue.below.push([0; 20]);
            }
        }
        Ok(opened)
    };
    with_daemon(opener, |daemon| {
        let received = || ask("stats", "{}")["pointsman_received_packets_total"].clone();
        assert!(wait_until(|| received() == json!({ "0": 1, "1": 1 })), "{}", received());
        HAS_COME.store(true, Ordering::Relaxed);
        NONE_LEFT.store(true, Ordering::Relaxed);
        LOST.store(true, Ordering::Relaxed);
        let problem = || ask("status", "{}")["interface_problem"].as_str().unwrap_or_default().to_owned();
        assert!(wait_until(|| problem().contains("worker 0 cannot be started")), "{}", problem());
        NONE_LEFT.store(false, Ordering::Relaxed);
        assert!(wait_until(|| problem().is_empty() && ask("status", "{}")["queues"] == json!([0, 1])), "{}", problem());
        assert_eq!(received(), json!({ "0": 1, "1": 1 }), "what they had counted");
        let set = ask("apply", r#"{"services":[]}"#);
        assert_eq!(set["warnings"], json!([]), "every worker forwards by it: {set}");
        assert!(!daemon.is_finished(), "it goes on");
    });
}

/// What the daemon of this network namespace answers, if it can be asked.
fn ask(method: &str, params: &str) -> Value {
    let sockets = std::fs::read_to_string("/proc/thread-self/net/unix").expect("the kernel lists them");
    let mut paths = sockets.lines().filter_map(|line| line.split_whitespace().nth(7));
    let Some(path) = paths.find(|path| path.ends_with("control.sock")) else { return Value::Null };
    let Ok(mut stream) = UnixStream::connect(path) else { return Value::Null };
    let question = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{params}}}"#);
    let mut line = String::new();
    let answered = writeln!(stream, "{question}").and_then(|()| BufReader::new(stream).read_line(&mut line));
    answered.map_or(Value::Null, |_| serde_json::from_str::<Value>(&line).unwrap_or_default()["result"].take())
}
