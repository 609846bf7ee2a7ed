//! One HTTP client: one question, one answer, and it is gone.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Instant;

use mio::net::TcpStream;

/// The longest question, in bytes; Prometheus asks with some hundred.
const LONGEST_HEAD: usize = 8 << 10;
/// The most headers of a question.
const MOST_HEADERS: usize = 64;

const METHODS: &str = "only GET and HEAD are answered\n";
const NOWHERE: &str = "there is only /metrics\n";

/// What a client wants, as far as it has said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Question {
    /// It has not said all yet.
    Unfinished,
    /// The page; `HEAD` wants all but its body.
    Page { head: bool },
    /// Anything else: a status, and a sentence.
    Refused(&'static str, &'static str, bool),
}

/// Reads the head of an HTTP/1 request (RFC 9112).
fn read_question(bytes: &[u8]) -> Question {
    let mut headers = [httparse::EMPTY_HEADER; MOST_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    match request.parse(bytes) {
        Ok(httparse::Status::Complete(_)) => {}
        Ok(httparse::Status::Partial) if bytes.len() < LONGEST_HEAD => return Question::Unfinished,
        Ok(httparse::Status::Partial) | Err(httparse::Error::TooManyHeaders) => {
            return Question::Refused("431 Request Header Fields Too Large", "that is too long\n", false);
        }
        Err(_) => return Question::Refused("400 Bad Request", "that is no HTTP/1 request\n", false),
    }
    let head = match request.method {
        Some("GET") => false,
        Some("HEAD") => true,
        _ => return Question::Refused("405 Method Not Allowed", METHODS, false),
    };
    let target = request.path.unwrap_or_default();
    // A proxy may ask with scheme and host before the path.
    let path = target.strip_prefix("http://").and_then(|rest| rest.find('/').map(|at| &rest[at..])).unwrap_or(target);
    match path.split('?').next() {
        Some("/metrics") => Question::Page { head },
        _ => Question::Refused("404 Not Found", NOWHERE, head),
    }
}

/// How far a client is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// It waits for the client.
    Waits,
    /// It is over, well or not.
    Over,
}

/// One client.
pub struct Connection {
    pub(super) stream: TcpStream,
    /// When it came.
    pub(super) since: Instant,
    asked: Vec<u8>,
    answer: Option<Answer>,
}

struct Answer {
    head: String,
    body: Arc<[u8]>,
    written: usize,
}

impl Answer {
    fn new(status: &str, kind: &str, body: Arc<[u8]>, head_only: bool) -> Self {
        let allow = if status.starts_with("405") { "Allow: GET, HEAD\r\n" } else { "" };
        let head = format!(
            "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n{allow}Connection: close\r\n\r\n",
            body.len()
        );
        Self { head, body: if head_only { Arc::new([]) } else { body }, written: 0 }
    }

    /// What is left to write, without the head's part of it where that is written.
    fn rest(&self) -> &[u8] {
        match self.head.as_bytes().get(self.written..) {
            Some(head) if !head.is_empty() => head,
            _ => &self.body[self.written - self.head.len()..],
        }
    }
}

impl Connection {
    /// A client that has just come.
    pub fn new(stream: TcpStream, since: Instant) -> Self {
        Self { stream, since, asked: Vec::new(), answer: None }
    }

    /// Reads, answers and writes as far as it goes without waiting. The page is made when it is asked for.
    pub fn turn(&mut self, page: impl FnOnce() -> Arc<[u8]>) -> Progress {
        match self.try_turn(page) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Progress::Waits,
            Ok(()) | Err(_) => Progress::Over,
        }
    }

    fn try_turn(&mut self, page: impl FnOnce() -> Arc<[u8]>) -> io::Result<()> {
        if self.answer.is_none() {
            self.answer = Some(match self.read()? {
                Question::Page { head } => Answer::new("200 OK", prometheus::TEXT_FORMAT, page(), head),
                Question::Refused(status, reason, head) => {
                    Answer::new(status, "text/plain; charset=utf-8", reason.as_bytes().into(), head)
                }
                Question::Unfinished => return Ok(()),
            });
        }
        self.write()
    }

    /// Reads until the question is whole; one that ends before it is stays unfinished.
    fn read(&mut self) -> io::Result<Question> {
        let mut bytes = [0; 1 << 10];
        loop {
            let room = LONGEST_HEAD.saturating_sub(self.asked.len()).min(bytes.len());
            match self.stream.read(&mut bytes[..room]) {
                Ok(0) => return Ok(Question::Unfinished),
                Ok(len) => self.asked.extend(&bytes[..len]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            match read_question(&self.asked) {
                Question::Unfinished => {}
                question => return Ok(question),
            }
        }
    }

    fn write(&mut self) -> io::Result<()> {
        let Some(answer) = &mut self.answer else { return Ok(()) };
        while !answer.rest().is_empty() {
            match self.stream.write(answer.rest()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(len) => answer.written += len,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.finish()
    }

    /// Lets the client read all of the answer: closing with something unread would reset the connection (RFC 9112 section
    /// 9.6), so what it still says is read until it says no more.
    fn finish(&mut self) -> io::Result<()> {
        _ = self.stream.shutdown(std::net::Shutdown::Write);
        let mut bytes = [0; 1 << 12];
        // Somebody who never stops talking is cut off.
        for _ in 0..16 {
            match self.stream.read(&mut bytes) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn questions_are_told_apart() {
        let status = |text: &str| match read_question(text.as_bytes()) {
            Question::Unfinished => "more",
            Question::Page { head: false } => "page",
            Question::Page { head: true } => "head",
            Question::Refused(status, ..) => &status[..3],
        };
        let long = format!("GET /metrics HTTP/1.1\r\nX: {}", "x".repeat(LONGEST_HEAD));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(MOST_HEADERS + 1));
        for (text, expected) in [
            ("", "more"),
            ("GET /met", "more"),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n", "more"),
            ("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n", "page"),
            ("GET /metrics HTTP/1.0\r\n\r\n", "page"),
            ("GET /metrics?x=1 HTTP/1.1\r\n\r\n", "page"),
            ("GET http://edge:9750/metrics HTTP/1.1\r\n\r\n", "page"),
            ("HEAD /metrics HTTP/1.1\r\n\r\n", "head"),
            ("GET / HTTP/1.1\r\n\r\n", "404"),
            ("GET /metrics/ HTTP/1.1\r\n\r\n", "404"),
            ("GET /../metrics HTTP/1.1\r\n\r\n", "404"),
            ("POST /metrics HTTP/1.1\r\n\r\n", "405"),
            ("\0\u{1}\u{2}", "400"),
            ("GET /metrics HTTP/2.0\r\n\r\n", "400"),
            ("\r\n\r\nno request\r\n\r\n", "400"),
            (&long, "431"),
            (&many, "431"),
        ] {
            assert_eq!(status(text), expected, "{text:?}");
        }
    }
}
