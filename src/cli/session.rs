//! Questions and answers over one connection to the control socket.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::{Value, json};

use super::words::shown;

/// How long an answer may take. A set of 100,000 endpoints is in force within seconds.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest line that is read, in bytes. What goes on for longer is no daemon of ours.
const LONGEST_LINE: u64 = 1 << 30;
/// JSON-RPC's code for a method that is not there.
const NO_SUCH_METHOD: i64 = -32601;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// There is nothing at the socket's path.
    #[error("{0}: there is no such socket: start `pointsman run`, or name the daemon's with --socket")]
    NoSocket(PathBuf),
    /// Nobody listens at the socket.
    #[error("{0}: no daemon listens there any more: start `pointsman run`, or name another socket with --socket")]
    NoDaemon(PathBuf),
    /// The user may not open the socket.
    #[error("{0}: you may not talk to the daemon: be root, or a member of the group that owns this socket")]
    NotAllowed(PathBuf),
    /// The socket fails otherwise.
    #[error("{0}: {1}")]
    Socket(PathBuf, io::Error),
    /// The daemon has closed the connection.
    #[error("{0}: the daemon went away")]
    Gone(PathBuf),
    /// No answer in time.
    #[error("{0}: the daemon has not answered for {secs} s; its log may say why", secs = PATIENCE.as_secs())]
    Silent(PathBuf),
    /// Something else answers, or the daemon is broken.
    #[error("{0}: what answers there does not speak the control protocol; is it the socket of a pointsman daemon?")]
    NotOurs(PathBuf),
    /// The daemon does not know the method.
    #[error("the daemon does not know \"{0}\": it is older than this command; upgrade or restart it")]
    TooOld(String),
    /// The daemon says no.
    #[error("{0}")]
    Refused(String),
}

/// What the daemon says without being asked.
#[derive(Debug)]
pub enum Told {
    /// A packet of a capture.
    Packet(Value),
    /// Something has happened.
    Event(Value),
}

/// One connection.
#[derive(Debug)]
pub struct Session {
    place: PathBuf,
    reader: BufReader<UnixStream>,
    questions: u64,
}

impl Session {
    /// Connects.
    pub fn open(socket: &Path) -> Result<Self, AskError> {
        let place = socket.to_owned();
        let stream = match UnixStream::connect(socket) {
            Ok(stream) => stream,
            Err(error) => {
                return Err(match error.kind() {
                    ErrorKind::NotFound => AskError::NoSocket(place),
                    ErrorKind::ConnectionRefused => AskError::NoDaemon(place),
                    ErrorKind::PermissionDenied => AskError::NotAllowed(place),
                    _ => AskError::Socket(place, error),
                });
            }
        };
        let session = Self { place, reader: BufReader::new(stream), questions: 0 };
        session.wait_at_most(Some(PATIENCE))?;
        Ok(session)
    }

    /// The socket.
    pub fn stream(&self) -> &UnixStream {
        self.reader.get_ref()
    }

    /// Whether a line, or a part of one, has already been taken from the socket.
    pub fn has_read_ahead(&self) -> bool {
        !self.reader.buffer().is_empty()
    }

    /// How long the daemon may take to read a line or to say one; none: for ever.
    pub fn wait_at_most(&self, limit: Option<Duration>) -> Result<(), AskError> {
        let stream = self.stream();
        let set = stream.set_read_timeout(limit).and_then(|()| stream.set_write_timeout(limit));
        set.map_err(|error| AskError::Socket(self.place.clone(), error))
    }

    /// Asks, and waits for the result, which is an object. Events that come before it are passed over.
    pub fn ask(&mut self, method: &str, params: &Value) -> Result<Value, AskError> {
        self.questions += 1;
        let id = self.questions;
        let question = json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params });
        // A daemon that has no time for this client says so before it closes: that is worth more than a broken pipe.
        let sent = self.stream().write_all(format!("{question}\n").as_bytes());
        let mut answer = loop {
            match (self.line(), &sent) {
                (Ok(line), _) if is_told(&line, "event") => {}
                (Err(_), Err(error)) => return Err(self.failed(error.kind())),
                (line, _) => break line?,
            }
        };
        if let Some(error) = answer.get("error") {
            return Err(self.refusal(method, error));
        }
        let is_for_us = answer["id"] == id;
        match answer.get_mut("result") {
            Some(result) if is_for_us && result.is_object() => Ok(result.take()),
            _ => Err(AskError::NotOurs(self.place.clone())),
        }
    }

    /// The next event, which is an object.
    pub fn event(&mut self) -> Result<Value, AskError> {
        loop {
            if let Told::Event(event) = self.packet_or_event()? {
                return Ok(event);
            }
        }
    }

    /// The next packet of a capture, or an event; which are objects.
    pub fn packet_or_event(&mut self) -> Result<Told, AskError> {
        loop {
            let mut line = self.line()?;
            let kind = ["packet", "event"].into_iter().find(|kind| is_told(&line, kind));
            match (kind, line["params"].take()) {
                (Some("packet"), packet @ Value::Object(_)) => return Ok(Told::Packet(packet)),
                (Some(_), event @ Value::Object(_)) => return Ok(Told::Event(event)),
                _ => {}
            }
        }
    }

    fn line(&mut self) -> Result<Value, AskError> {
        let mut line = Vec::new();
        let read = (&mut self.reader).take(LONGEST_LINE).read_until(b'\n', &mut line);
        read.map_err(|error| self.failed(error.kind()))?;
        if line.last() != Some(&b'\n') {
            let place = self.place.clone();
            return Err(if line.len() as u64 == LONGEST_LINE {
                AskError::NotOurs(place)
            } else {
                AskError::Gone(place)
            });
        }
        let message: Option<Value> = serde_json::from_slice(&line).ok();
        message.filter(Value::is_object).ok_or_else(|| AskError::NotOurs(self.place.clone()))
    }

    fn failed(&self, kind: ErrorKind) -> AskError {
        let place = self.place.clone();
        match kind {
            ErrorKind::WouldBlock | ErrorKind::TimedOut => AskError::Silent(place),
            ErrorKind::BrokenPipe | ErrorKind::ConnectionReset => AskError::Gone(place),
            kind => AskError::Socket(place, kind.into()),
        }
    }

    fn refusal(&self, method: &str, error: &Value) -> AskError {
        match error["message"].as_str() {
            _ if error["code"] == NO_SUCH_METHOD => AskError::TooOld(method.to_owned()),
            Some(message) => AskError::Refused(shown(message).into_owned()),
            None => AskError::NotOurs(self.place.clone()),
        }
    }
}

fn is_told(line: &Value, kind: &str) -> bool {
    line["method"] == kind && line.get("id").is_none()
}
