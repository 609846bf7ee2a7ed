//! Long HTTP connections that ask something now and then, as an established flow of a client's does.

use std::collections::{BTreeMap, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use mio::{Events, Interest, Poll, Token};
use rustix::net::sockopt::set_tcp_quickack;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::{Namespace, SOON, wait_until};

/// The port of [`Asked`].
const PORT: u16 = 7_000;
/// What is asked, and how many lines that has.
const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: vip\r\n\r\n";
const REQUEST_LINES: usize = 3;
/// The listener's among the tokens of an [`Asked`].
const LISTENER: Token = Token(0);

/// An HTTP server, on all addresses of a namespace, that answers each request with its name: one thread for thousands of
/// connections. It stops when dropped.
pub struct Asked {
    stop: Arc<AtomicBool>,
}

impl Asked {
    /// Starts a server that calls itself `name`.
    pub fn start(namespace: &Namespace, name: &str) -> Self {
        let listener = namespace.inside(|| TcpListener::bind(("::", PORT))).expect("the port is free");
        listener.set_nonblocking(true).expect("a socket can be made so");
        let stop = Arc::new(AtomicBool::new(false));
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", name.len() + 1);
        let (stopped, answer) = (Arc::clone(&stop), format!("{head}{name}\n").into_bytes());
        thread::spawn(move || serve(mio::net::TcpListener::from_std(listener), &answer, &stopped));
        Self { stop }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn serve(mut listener: mio::net::TcpListener, answer: &[u8], stop: &AtomicBool) -> io::Result<()> {
    let (mut poll, mut events) = (Poll::new()?, Events::with_capacity(256));
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let (mut connections, mut next) = (HashMap::new(), LISTENER.0);
    while !stop.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(200)))?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    next += 1;
                    poll.registry().register(&mut stream, Token(next), Interest::READABLE)?;
                    connections.insert(Token(next), (stream, 0));
                }
            } else if let Some((stream, lines)) = connections.get_mut(&event.token())
                && answer_all(stream, lines, answer).is_err()
            {
                connections.remove(&event.token());
            }
        }
    }
    Ok(())
}

/// Answers each request that has come, of which `lines` is the part of one; an error where the connection has ended.
fn answer_all(stream: &mut mio::net::TcpStream, lines: &mut usize, answer: &[u8]) -> io::Result<()> {
    let mut bytes = [0; 256];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
            Ok(length) => {
                *lines += bytes[..length].iter().filter(|byte| **byte == b'\n').count();
                stream.write_all(&answer.repeat(*lines / REQUEST_LINES))?;
                *lines %= REQUEST_LINES;
            }
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}

/// Connections to an [`Asked`], each asked once a round until dropped.
pub struct Sessions {
    names: BTreeMap<String, usize>,
    rounds: Arc<AtomicU64>,
    broken: Arc<Mutex<BTreeMap<usize, String>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Sessions {
    /// How many rounds of requests have been answered.
    pub fn rounds(&self) -> u64 {
        self.rounds.load(Ordering::Relaxed)
    }

    /// Opens `count` connections to a VIP, and begins to ask.
    pub fn start(client: &Namespace, vip: std::net::IpAddr, count: usize) -> Self {
        allow_many_files();
        let address = SocketAddr::new(vip, PORT);
        let opened = client.inside(|| (0..count).map(|_| Session::open(address)).collect::<io::Result<Vec<_>>>());
        let mut sessions = opened.unwrap_or_else(|error| panic!("no connection to {vip}: {error}"));
        let mut names = BTreeMap::new();
        sessions.iter().for_each(|session| *names.entry(session.name.clone()).or_default() += 1);
        let (rounds, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let broken = Arc::new(Mutex::new(BTreeMap::new()));
        let (counted, kept, stopped) = (Arc::clone(&rounds), Arc::clone(&broken), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let failed = ask_all(&mut sessions, &stopped);
                kept.lock().expect("no holder panics").extend(failed);
                counted.fetch_add(1, Ordering::Relaxed);
                // Thousands would leave nothing of the processor to others.
                thread::sleep(begun.elapsed().max(Duration::from_millis(20)));
            }
        });
        Self { names, rounds, broken, stop, thread: Some(thread) }
    }

    /// How many each endpoint has.
    pub fn names(&self) -> &BTreeMap<String, usize> {
        &self.names
    }

    /// Waits for some more rounds, and answers how many connections have broken so far, or come to another endpoint.
    pub fn broken(&self, when: &str) -> usize {
        let until = self.rounds.load(Ordering::Relaxed) + 3;
        let more = wait_until(4 * SOON, || self.rounds.load(Ordering::Relaxed) >= until);
        assert!(more, "the connections stand still {when}");
        self.broken.lock().expect("no holder panics").len()
    }

    /// The same; panics where any has.
    pub fn go_on(&self, when: &str) {
        let broken = self.broken(when);
        let first = self.broken.lock().map(|all| all.first_key_value().map(|(_, why)| why.clone())).unwrap_or_default();
        assert_eq!(broken, 0, "connections broke {when}: {}", first.unwrap_or_default());
    }
}

impl Drop for Sessions {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A connection takes a descriptor at each of its ends, and a login shell gives a process a thousand.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    // Where that is not allowed, opening says so.
    _ = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
}

/// Asks on every connection, then reads every answer, unless told to stop; answers which have failed, by their number.
fn ask_all(sessions: &mut [Session], stop: &AtomicBool) -> Vec<(usize, String)> {
    let sent: Vec<io::Result<()>> = sessions.iter_mut().map(Session::ask).collect();
    let results = sessions.iter_mut().zip(sent).map(|(session, sent)| sent.and_then(|()| session.hear()));
    let results = results.take_while(|_| !stop.load(Ordering::Relaxed)).enumerate();
    results.filter_map(|(number, result)| Some((number, result.err()?.to_string()))).collect()
}

struct Session {
    stream: BufReader<TcpStream>,
    name: String,
}

impl Session {
    fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, SOON)?;
        stream.set_read_timeout(Some(SOON))?;
        let mut session = Self { stream: BufReader::new(stream), name: String::new() };
        session.ask()?;
        session.name = session.read()?;
        Ok(session)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(REQUEST)
    }

    /// Reads an answer, which is a name.
    fn read(&mut self) -> io::Result<String> {
        let mut line = String::new();
        while line.trim_end() != "" || line.is_empty() {
            line.clear();
            if self.stream.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        line.clear();
        self.stream.read_line(&mut line)?;
        // By itself, so that a node counts two packets a request: else it may wait 40 ms for the next request to go with.
        set_tcp_quickack(self.stream.get_ref(), true)?;
        Ok(line)
    }

    fn hear(&mut self) -> io::Result<()> {
        let name = self.read()?;
        if name == self.name { Ok(()) } else { Err(io::Error::other(format!("{name:?} after {:?}", self.name))) }
    }
}
