//! Bytes ↔ messages: JSON-RPC 2.0, one object a line. No sockets here.

use serde::Serialize;
use serde_json::Value;

use crate::document::{Problem, Problems, Tree};
use crate::model::Revision;

use super::event::Event;
use super::set::Refusal;

/// The longest line, in bytes.
pub const LONGEST_LINE: usize = 64 << 20;
/// The number of this protocol.
pub const PROTOCOL: u64 = 1;

/// All that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Who is there?
    Hello,
    /// Take this set.
    Apply,
    /// Take these services in, and those out.
    Patch,
    /// Which set is in force?
    Get,
    /// How are you?
    Status,
    /// Where would this flow go?
    Lookup,
    /// How is each endpoint?
    Endpoints,
    /// What have you counted?
    Stats,
    /// Tell me what happens from now on.
    Subscribe,
    /// Show me packets from now on.
    Capture,
    /// Draw no more traffic, but forward what comes.
    Drain,
    /// Draw traffic again.
    Resume,
    /// Hand everything over to a new process.
    Upgrade,
}

impl Method {
    /// Every method with its name.
    pub const ALL: [(&'static str, Self); 13] = [
        ("hello", Self::Hello),
        ("apply", Self::Apply),
        ("patch", Self::Patch),
        ("get", Self::Get),
        ("status", Self::Status),
        ("lookup", Self::Lookup),
        ("endpoints", Self::Endpoints),
        ("stats", Self::Stats),
        ("subscribe", Self::Subscribe),
        ("capture", Self::Capture),
        ("drain", Self::Drain),
        ("resume", Self::Resume),
        ("upgrade", Self::Upgrade),
    ];

    /// Whether only those who may write can ask it: it changes something, or shows what others say to each other.
    pub fn writes(self) -> bool {
        matches!(self, Self::Apply | Self::Patch | Self::Capture | Self::Drain | Self::Resume | Self::Upgrade)
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::ALL.iter().find(|(_, known)| *known == self).map_or("", |(name, _)| name)
    }
}

/// One line of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct Request<'a> {
    /// Repeated in the answer; none: no answer is wanted.
    pub id: Option<Value>,
    /// What is asked, or why nothing is.
    pub call: Result<Call<'a>, Fault>,
}

/// One question.
#[derive(Clone, Debug, PartialEq)]
pub struct Call<'a> {
    /// What is asked.
    pub method: Method,
    /// Its parameters; an empty object where there are none.
    pub params: Tree<'a>,
}

/// Why there is no result: the `error` of an answer.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Fault {
    /// JSON-RPC's own, below 0, or one of the contract's (section 5).
    pub code: i64,
    /// One sentence.
    pub message: String,
    /// Where and why, if it is about a place in the parameters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub data: Option<Problem>,
}

impl Fault {
    fn new(code: i64, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), data: None }
    }

    /// The parameters are not what the method takes.
    pub fn invalid_params(problems: Problems) -> Self {
        Self::of(-32602, "invalid params", problems)
    }

    /// The set is not valid.
    pub fn invalid_set(problems: Problems) -> Self {
        Self::of(6, "invalid_set", problems)
    }

    /// Something failed on this side.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(-32603, message)
    }

    /// Whoever serves this socket has nothing to hand over.
    pub fn cannot_upgrade() -> Self {
        Self::internal("this node cannot be upgraded while it runs: it is not the daemon of `pointsman run`")
    }

    /// The daemon is about to end.
    pub fn is_stopping() -> Self {
        Self::internal(
            "there is no upgrade: this daemon was asked to stop; start it again with the new program instead",
        )
    }

    /// A patch is meant for another revision than the current one.
    pub fn stale_base(base: &Revision, current: &Revision) -> Self {
        let reason = format!("the current revision is \"{}\", not \"{}\"", current.0, base.0);
        Self::of(1, "stale_base", Problems(vec![Problem::at("base", &reason)]))
    }

    /// One parameter is not what the method takes, or names what there is not.
    pub fn invalid_param(path: &str, reason: String) -> Self {
        Self::invalid_params(Problems(vec![Problem::at(path, &reason)]))
    }

    /// The peer may only read.
    pub fn not_permitted(method: &str) -> Self {
        Self::new(4, format!("not_permitted: \"{method}\" needs a user of control.allow_users"))
    }

    /// A line that is longer than any of this client may be, in bytes.
    pub fn line_too_long(longest: usize) -> Self {
        let size = if longest >= 1 << 20 { format!("{} MiB", longest >> 20) } else { format!("{} KiB", longest >> 10) };
        Self::new(-32600, format!("a line is longer than {size}"))
    }

    fn of(code: i64, name: &str, problems: Problems) -> Self {
        let more = problems.0.len().saturating_sub(1);
        let Some(first) = problems.0.into_iter().next() else { return Self::new(code, name) };
        let mut fault = Self { code, message: format!("{name}: {first}"), data: Some(first) };
        if more > 0 {
            fault.message += &format!(" (and {more} more)");
        }
        fault
    }
}

impl From<Refusal> for Fault {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WouldEmpty(problems) => Self::of(2, "would_empty", problems),
            Refusal::VipNotAllowed(problems) => Self::of(3, "vip_not_allowed", problems),
            Refusal::OwnedByConfig(problems) => Self::of(5, "owned_by_config", problems),
            Refusal::InvalidSet(problems) => Self::of(6, "invalid_set", problems),
        }
    }
}

/// Reads one line. What is wrong with it is answered, under its id if that can be read.
pub fn read(line: &[u8]) -> Request<'_> {
    let refused = |fault| Request { id: Some(Value::Null), call: Err(fault) };
    match serde_json::from_slice(line) {
        Err(error) => refused(Fault::new(-32700, format!("not JSON: {error}"))),
        Ok(mut message @ Tree::Table(_)) => {
            let id = message.remove("id").map(|id| id.to_value());
            if id.as_ref().is_some_and(|id| !is_id(id)) {
                return refused(Fault::new(-32600, "\"id\" is not a string, a whole number or null"));
            }
            match read_call(message) {
                Ok(call) => Request { id, call: Ok(call) },
                Err(fault) => Request { id: id.or(Some(Value::Null)), call: Err(fault) },
            }
        }
        Ok(_) => refused(Fault::new(-32600, "a line is one JSON object")),
    }
}

/// What can be repeated exactly: numbers with a fraction, or beyond 64 bits, would come back as others.
fn is_id(id: &Value) -> bool {
    id.is_string() || id.is_i64() || id.is_u64() || id.is_null()
}

fn read_call(mut message: Tree<'_>) -> Result<Call<'_>, Fault> {
    if message.get("jsonrpc").and_then(Tree::as_text) != Some("2.0") {
        return Err(Fault::new(-32600, "\"jsonrpc\" is not \"2.0\""));
    }
    let Some(name) = message.get("method").and_then(Tree::as_text) else {
        return Err(Fault::new(-32600, "\"method\" is not a string"));
    };
    let Some((_, method)) = Method::ALL.iter().find(|(known, _)| *known == name) else {
        let known: Vec<&str> = Method::ALL.iter().map(|(name, _)| *name).collect();
        return Err(Fault::new(-32601, format!("no method {name:?}; there are: {}", known.join(", "))));
    };
    match message.remove("params") {
        None => Ok(Call { method: *method, params: Tree::Table(Vec::new()) }),
        Some(params @ Tree::Table(_)) => Ok(Call { method: *method, params }),
        Some(_) => Err(Fault::new(-32602, "\"params\" is not an object")),
    }
}

/// JSON-RPC's.
const VERSION: &str = "2.0";

#[derive(Serialize)]
struct Answer<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'a Fault>,
    id: &'a Value,
    jsonrpc: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<&'a Value>,
}

#[derive(Serialize)]
struct Notification<'a, T> {
    jsonrpc: &'static str,
    method: &'static str,
    params: &'a T,
}

/// A message as a line. It is written from where it is: answers of many megabytes are copied no more than that.
fn line(message: &impl Serialize) -> String {
    let mut line = serde_json::to_string(message).expect("messages have nothing that is not JSON");
    line.push('\n');
    line
}

/// One answer as a line, with its end.
pub fn write(id: &Value, result: &Result<Value, Fault>) -> String {
    line(&Answer { jsonrpc: VERSION, id, result: result.as_ref().ok(), error: result.as_ref().err() })
}

/// One event as a line, with its end.
pub fn notify(event: &Event) -> String {
    line(&Notification { jsonrpc: VERSION, method: "event", params: event })
}

/// One packet of a capture as a line, with its end.
pub fn show_packet(packet: &Value) -> String {
    line(&Notification { jsonrpc: VERSION, method: "packet", params: packet })
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct Lines {
    longest: usize,
    buffer: Vec<u8>,
    /// How much of the buffer is known to hold no line end.
    searched: usize,
}

impl Lines {
    /// For lines of at most so many bytes.
    pub fn new(longest: usize) -> Self {
        Self { longest, buffer: Vec::new(), searched: 0 }
    }

    /// From now on lines may have so many bytes.
    pub fn set_longest(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// How many bytes have come of which no whole line has been made.
    pub fn pending(&self) -> usize {
        self.buffer.len()
    }

    /// All that has come and has not been taken as a line.
    pub fn unanswered(&self) -> &[u8] {
        &self.buffer
    }

    /// Adds what has come.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole line without its end, or that the one begun is too long already.
    pub fn next_line(&mut self) -> Option<Result<Vec<u8>, Fault>> {
        let end = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n');
        match end.map(|end| self.searched + end) {
            Some(end) if end <= self.longest => {
                let rest = self.buffer.split_off(end + 1);
                let mut line = std::mem::replace(&mut self.buffer, rest);
                line.pop();
                self.searched = 0;
                Some(Ok(line))
            }
            None if self.buffer.len() <= self.longest => {
                self.searched = self.buffer.len();
                None
            }
            _ => Some(Err(Fault::line_too_long(self.longest))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_kind_of_wrong_line_has_its_code() {
        for (line, code, id) in [
            ("", -32700, Value::Null),
            ("{", -32700, Value::Null),
            ("[]", -32600, Value::Null),
            (r#"{"id":1,"method":"get"}"#, -32600, json!(1)),
            (r#"{"jsonrpc":"2.0","id":"x"}"#, -32600, json!("x")),
            (r#"{"jsonrpc":"2.0","id":1,"method":"destroy"}"#, -32601, json!(1)),
            (r#"{"jsonrpc":"2.0","id":1,"method":"get","params":[]}"#, -32602, json!(1)),
            (r#"{"jsonrpc":"2.0","id":[],"method":"get"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1.5,"method":"get"}"#, -32600, Value::Null),
            (r#"{"jsonrpc":"2.0","id":1004000000000000000000000000,"method":"get"}"#, -32600, Value::Null),
        ] {
            let Request { id: seen, call } = read(line.as_bytes());
            assert_eq!((call.map_err(|fault| fault.code), seen), (Err(code), Some(id)), "{line}");
        }
        let deep = "[".repeat(100_000);
        for line in [b"\xff\xfe", deep.as_bytes()] {
            assert_eq!(read(line).call.map_err(|fault| fault.code), Err(-32700));
        }
    }

    #[test]
    fn only_some_methods_write() {
        let writing: Vec<&str> = Method::ALL.iter().filter(|(_, it)| it.writes()).map(|(name, _)| *name).collect();
        assert_eq!(writing, ["apply", "patch", "capture", "drain", "resume", "upgrade"]);
    }

    #[test]
    fn a_question_is_read_and_answered() {
        let request = read(br#"{"jsonrpc":"2.0","id":7,"method":"status"}"#);
        let call = Call { method: Method::Status, params: json!({}).into() };
        assert_eq!(request, Request { id: Some(json!(7)), call: Ok(call) });
        assert_eq!(write(&json!(7), &Ok(json!(1))), "{\"id\":7,\"jsonrpc\":\"2.0\",\"result\":1}\n");
    }

    proptest! {
        #[test]
        fn lines_come_out_whole_however_the_stream_is_cut(
            lines in prop::collection::vec("[a-z]{0,20}", 0..10), cuts in prop::collection::vec(1usize..7, 1..40),
        ) {
            let stream: Vec<u8> = lines.iter().flat_map(|line| format!("{line}\n").into_bytes()).collect();
            let (mut splitter, mut seen, mut at) = (Lines::new(LONGEST_LINE), Vec::new(), 0);
            for cut in cuts.iter().cycle() {
                let end = (at + cut).min(stream.len());
                splitter.push(&stream[at..end]);
                at = end;
                while let Some(line) = splitter.next_line() {
                    seen.push(String::from_utf8(line.expect("short")).expect("ASCII"));
                }
                if at == stream.len() {
                    break;
                }
            }
            prop_assert_eq!(seen, lines);
        }
    }

    #[test]
    fn a_line_without_end_is_refused_in_time() {
        let mut lines = Lines::new(LONGEST_LINE);
        lines.push(&vec![b'x'; LONGEST_LINE]);
        assert!(lines.next_line().is_none());
        lines.push(b"x");
        assert!(matches!(lines.next_line(), Some(Err(_))));
    }
}
