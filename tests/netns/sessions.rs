//! Long TCP connections that ask something now and then, as an established flow of a client's does.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::{Namespace, SOON, wait_until};

/// The port of [`Asked`].
const PORT: u16 = 7_000;

/// A server, on all addresses of a namespace, that answers each line with its name. It stops when dropped.
pub struct Asked {
    listener: TcpListener,
}

impl Asked {
    /// Starts a server that calls itself `name`.
    pub fn start(namespace: &Namespace, name: &str) -> Self {
        let listener = namespace.inside(|| TcpListener::bind(("::", PORT))).expect("the port is free");
        let accepting = listener.try_clone().expect("a socket can be duplicated");
        let name = name.to_owned();
        thread::spawn(move || {
            while let Ok((stream, _)) = accepting.accept() {
                let name = name.clone();
                thread::spawn(move || answer(&stream, &name));
            }
        });
        Self { listener }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // Wakes the thread that waits in `accept`.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

fn answer(stream: &TcpStream, name: &str) -> io::Result<()> {
    for line in BufReader::new(stream).lines() {
        line?;
        let mut stream = stream;
        stream.write_all(format!("{name}\n").as_bytes())?;
    }
    stream.shutdown(Shutdown::Both)
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
    /// Opens `count` connections to a VIP, and begins to ask.
    pub fn start(client: &Namespace, vip: std::net::IpAddr, count: usize) -> Self {
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
                let failed = ask_all(&mut sessions);
                kept.lock().expect("no holder panics").extend(failed);
                counted.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(20));
            }
        });
        Self { names, rounds, broken, stop, thread: Some(thread) }
    }

    /// How many each endpoint has.
    pub fn names(&self) -> &BTreeMap<String, usize> {
        &self.names
    }

    /// Waits for some more rounds; panics where a connection has broken, or come to another endpoint.
    pub fn go_on(&self, when: &str) {
        let until = self.rounds.load(Ordering::Relaxed) + 3;
        let more = wait_until(4 * SOON, || self.rounds.load(Ordering::Relaxed) >= until);
        assert!(more, "the connections stand still {when}");
        let broken = self.broken.lock().expect("no holder panics");
        assert!(broken.is_empty(), "{} connections broke {when}: {broken:?}", broken.len());
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

/// Asks on every connection, then reads every answer; answers which have failed, by their number.
fn ask_all(sessions: &mut [Session]) -> Vec<(usize, String)> {
    let sent: Vec<io::Result<()>> = sessions.iter_mut().map(Session::ask).collect();
    let results = sessions.iter_mut().zip(sent).map(|(session, sent)| sent.and_then(|()| session.hear()));
    results.enumerate().filter_map(|(number, result)| Some((number, result.err()?.to_string()))).collect()
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
        session.stream.read_line(&mut session.name)?;
        Ok(session)
    }

    fn ask(&mut self) -> io::Result<()> {
        self.stream.get_mut().write_all(b"?\n")
    }

    fn hear(&mut self) -> io::Result<()> {
        let mut name = String::new();
        self.stream.read_line(&mut name)?;
        if name == self.name { Ok(()) } else { Err(io::Error::other(format!("{name:?} after {:?}", self.name))) }
    }
}
