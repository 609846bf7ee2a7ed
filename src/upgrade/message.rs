//! The messages, each a JSON object; what is large comes in files beside them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::FORMAT;

/// One message.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum Message {
    /// Old → new, with the listening sockets (control, metrics) and a file with the node's state.
    Begin(Begin),
    /// Old → new, with the descriptors of a worker's queue, the file of its tracked flows if they lie in one, and last the
    /// socket by which the worker itself will tell its successor what it had (see [`Worker`](super::Worker)).
    Queue(Queue),
    /// New → old: all is ready to take the first worker.
    Prepared {
        /// Of the new process.
        version: String,
        /// Its workers go on with tracked flows where they lie; else they are to be told.
        #[serde(default)]
        in_place: bool,
    },
    /// New → old: it does not go on, and has taken its hands from all that it was given.
    Failed {
        /// One sentence.
        reason: String,
    },
    /// Old → new: this worker is asked to stop.
    Worker {
        /// Its number.
        number: usize,
    },
    /// New → old: it works again.
    Taken {
        /// The nanoseconds between its last batch there and its first look here.
        pause: u64,
    },
    /// Old → new, with its socket and a file of what it has not read, and then of what it has sent and not been answered.
    Client(Client),
    /// Old → new, with a file of what has been counted and measured: that is all.
    Finish {
        /// The longest pause of all workers, in nanoseconds.
        longest_pause: u64,
    },
    /// New → old: this process is the daemon now.
    Done,
}

/// What a new process has to know first.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Begin {
    /// [`FORMAT`] of the old process.
    pub format: u32,
    /// Its version.
    pub version: String,
    /// What of the config cannot change.
    pub facts: Vec<(String, String)>,
    /// The interface's number.
    pub interface: u32,
    /// `af_xdp` or `af_packet`.
    pub driver: String,
    /// The receive queues that the interface had when its sockets were opened, and the bytes of packet memory that a
    /// frame took; none where they do not matter.
    pub shape: Option<(u32, Option<u32>)>,
    /// How many workers there are.
    pub workers: usize,
}

/// A worker's queue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Queue {
    /// The interface's.
    pub queue: u32,
    /// Frames of packet memory.
    pub frames: u32,
    /// Bytes of each.
    pub chunk_size: u32,
    /// In which form tracked flows lie in a file, if they do.
    #[serde(default)]
    pub layout: Option<u32>,
}

/// A client of the control socket.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Client {
    /// It is told events.
    pub subscribed: bool,
    /// It has sent all it will.
    pub closing: bool,
    /// Events that it was too slow for.
    pub missed: usize,
    /// How many bytes it has not read.
    pub unread: usize,
    /// The id of its question for this upgrade, as JSON, if it has asked for that and wants an answer.
    pub asked: Option<String>,
    /// The upgrade that it has asked for, where that is another one: its turn comes after this.
    #[serde(default)]
    pub later: Option<Asked>,
}

/// An upgrade that a client has asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asked {
    /// The id of the question, as JSON; none: no answer is wanted.
    pub id: Option<String>,
    /// The program that is to take over; none: the daemon's own.
    pub binary: Option<PathBuf>,
}

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// The other process is of another time.
    #[error(
        "the running pointsman {version} hands over in form {format}, and pointsman {} reads {FORMAT}: restart instead",
        env!("CARGO_PKG_VERSION")
    )]
    Format {
        /// Its form.
        format: u64,
        /// Its version.
        version: String,
    },
    /// It is no message at all.
    #[error("the other process says what is no message: {0}")]
    Nonsense(String),
}

impl Message {
    /// As it is sent.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("plain data, with texts as keys")
    }

    /// Reads one. Of a first message of another form only that is read.
    pub fn read(bytes: &[u8]) -> Result<Self, Unreadable> {
        let nonsense = |error: serde_json::Error| Unreadable::Nonsense(error.to_string());
        let value: Value = serde_json::from_slice(bytes).map_err(nonsense)?;
        if value["step"] == "begin"
            && let Some(format) = value["format"].as_u64().filter(|format| *format != u64::from(FORMAT))
        {
            let version = value["version"].as_str().unwrap_or("of an unknown version").to_owned();
            return Err(Unreadable::Format { format, version });
        }
        serde_json::from_value(value).map_err(nonsense)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn begin() -> Begin {
        Begin {
            format: FORMAT,
            version: "0.1.0".to_owned(),
            facts: vec![("interface.name".to_owned(), "eth0".to_owned())],
            interface: 2,
            driver: "af_xdp".to_owned(),
            shape: Some((2, Some(2048))),
            workers: 2,
        }
    }

    fn messages() -> Vec<Message> {
        vec![
            Message::Begin(begin()),
            Message::Queue(Queue { queue: 1, frames: 4096, chunk_size: 2048, layout: Some(1) }),
            Message::Prepared { version: "0.2.0".to_owned(), in_place: true },
            Message::Failed { reason: "no".to_owned() },
            Message::Worker { number: 1 },
            Message::Taken { pause: 7 },
            Message::Client(Client { asked: Some("null".to_owned()), ..Client::default() }),
            Message::Finish { longest_pause: 9 },
            Message::Done,
        ]
    }

    #[test]
    fn what_is_written_is_read() {
        for message in messages() {
            assert_eq!(Message::read(&message.write()), Ok(message));
        }
    }

    /// What the first release says. A later one that reads form 1 reads this.
    #[test]
    fn the_words_of_form_1_are_read() {
        let shown = include_str!("form-1.jsonl");
        let read: Vec<Message> = shown
            .lines()
            .map(|line| Message::read(line.as_bytes()).unwrap_or_else(|e| panic!("{e}: {line}")))
            .collect();
        let steps: Vec<_> = read.iter().map(std::mem::discriminant).collect();
        assert_eq!(steps, messages().iter().map(std::mem::discriminant).collect::<Vec<_>>());
        assert_eq!(read[0], Message::Begin(begin()));
        assert_eq!(read[4], Message::Worker { number: 1 });
        let Message::Client(client) = &read[6] else { panic!("{:?}", read[6]) };
        assert_eq!((client.subscribed, client.asked.as_deref()), (true, Some("7")));
    }

    #[test]
    fn another_form_is_named_and_not_read() {
        let text = r#"{"step":"begin","format":9,"version":"3.0.0","quite":"another"}"#;
        let said = Message::read(text.as_bytes()).expect_err("another form").to_string();
        assert_eq!(
            said,
            format!(
                "the running pointsman 3.0.0 hands over in form 9, and pointsman {} reads 1: restart instead",
                env!("CARGO_PKG_VERSION")
            )
        );
    }

    proptest! {
        #[test]
        fn nonsense_is_no_message_and_no_harm(bytes in prop::collection::vec(any::<u8>(), 0..200), number in 0usize..9, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            _ = Message::read(&bytes);
            let mut changed = messages()[number].write();
            let at = at.index(changed.len());
            changed[at] = byte;
            _ = Message::read(&changed);
        }
    }
}
