//! A whole node in threads of this process, without root: a real socket, real workers, packet memory in place of a network.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use ipnet::IpNet;
use pointsman::config::{self, Config, Poll};
use pointsman::control::node::{Facts, Gate, Node, Parts, Ways, WorkerFacts};
use pointsman::control::server::{End, Limits, Server};
use pointsman::control::settings::settings;
use pointsman::control::update::Builder;
use pointsman::forward::Flows;
use pointsman::io::PacketIo;
use pointsman::io::memory::Memory;
use pointsman::publish::{Publication, Publisher};
use pointsman::snapshot::{NextHop, Snapshot, Tag};
use pointsman::stats::{Board, Cells};
use pointsman::wire::ethernet::MacAddress;
use pointsman::worker::{Pace, Worker};
use serde_json::{Value, json};

/// No answer takes longer, or something hangs.
pub const LIMIT: Duration = Duration::from_secs(20);

/// The VIPs that a gate lets in.
pub type Vips = Arc<Mutex<BTreeSet<IpNet>>>;

/// A VIP that no gate lets in.
pub const UNWELCOME: &str = "203.0.113.66";

struct OpenGate(Vips);

impl Gate for OpenGate {
    fn set_vips(&mut self, vips: &BTreeSet<IpNet>) -> Result<(), String> {
        if vips.iter().any(|vip| vip.addr().to_string() == UNWELCOME) {
            return Err("there is no room".to_owned());
        }
        *self.0.lock().expect("no panic while held") = vips.clone();
        Ok(())
    }
}

/// The text of a configuration with its files in this directory.
pub fn configuration(dir: &Path, more: &str) -> String {
    format!(
        "[node]\nname = \"edge\"\nstate_dir = \"{0}/state\"\n[interface]\nname = \"none\"\n\
         [underlay]\nsource_v6 = \"2001:db8:51b::1\"\nsource_v4 = \"192.0.2.1\"\n{more}\n\
         [control]\nsocket = \"{0}/control.sock\"\nallow_users = [\"{1}\"]\nvip_allow = [\"203.0.113.0/24\", \"2001:db8::/32\"]\n",
        dir.display(),
        rustix::process::getuid().as_raw(),
    )
}

/// A node in a thread, with two workers in threads of their own.
pub struct Daemon {
    /// Its control socket.
    pub socket: PathBuf,
    /// Its config, which SIGHUP has read again.
    pub config_file: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<End>>,
    /// What its gate lets in.
    pub vips: Vips,
}

impl Daemon {
    /// Starts one with its files in this directory.
    pub fn start(dir: &Path) -> Self {
        Self::start_with(dir, "")
    }

    /// The same with more sections in its configuration.
    pub fn start_with(dir: &Path, more: &str) -> Self {
        Self::start_in(dir, more, || ())
    }

    /// The same with other limits for its clients.
    pub fn start_limited(dir: &Path, limits: Limits) -> Self {
        Self::start_whole(dir, "", limits, || (), no_frames)
    }

    /// The same in a thread that is made ready first: what it mounts for itself, the node sees.
    pub fn start_in(dir: &Path, more: &str, make_ready: impl FnOnce() + Send + 'static) -> Self {
        Self::start_whole(dir, more, Limits::default(), make_ready, no_frames)
    }

    /// The same with workers over something else.
    pub fn start_over<Io: PacketIo + Send + 'static>(dir: &Path, io: impl FnMut() -> Io + Send + 'static) -> Self {
        Self::start_whole(dir, "", Limits::default(), || (), io)
    }

    fn start_whole<Io: PacketIo + Send + 'static>(
        dir: &Path,
        more: &str,
        limits: Limits,
        make_ready: impl FnOnce() + Send + 'static,
        io: impl FnMut() -> Io + Send + 'static,
    ) -> Self {
        let (socket, config_file) = (dir.join("control.sock"), dir.join("pointsman.toml"));
        std::fs::write(&config_file, configuration(dir, more)).expect("a file");
        let config = config::load(&config_file).expect("valid");
        let mut server = Server::bind(&config.control).expect("a socket");
        server.set_limits(limits);
        let (stop, vips) = (Arc::new(AtomicBool::new(false)), Vips::default());
        let (asked, seen) = (stop.clone(), vips.clone());
        let thread = std::thread::spawn(move || {
            make_ready();
            let (mut node, workers) = node_over(config, seen, io);
            node.restore().expect("nothing stands in the way");
            let end = server.run(&mut node, |_| !asked.load(Ordering::Relaxed)).expect("the loop runs");
            node.stop();
            workers.into_iter().for_each(|worker| worker.join().expect("no panic").expect("memory"));
            end
        });
        let daemon = Self { socket, config_file, stop, thread: Some(thread), vips };
        daemon.ask("hello", json!({})).expect("it answers");
        daemon
    }

    /// A client.
    pub fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(&self.socket).expect("it listens");
        stream.set_read_timeout(Some(LIMIT)).expect("a socket");
        stream
    }

    /// Sends one line and reads one.
    pub fn raw(&self, line: &[u8]) -> Value {
        let mut stream = self.connect();
        stream.write_all(line).expect("it reads");
        stream.write_all(b"\n").expect("it reads");
        answer(&stream)
    }

    /// The result of a question, or its error.
    pub fn ask(&self, method: &str, params: Value) -> Result<Value, Value> {
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let mut answer = self.raw(question.to_string().as_bytes());
        match answer.get("error") {
            Some(error) => Err(error.clone()),
            None => Ok(answer["result"].take()),
        }
    }

    /// Stops it and waits for its end.
    pub fn end(mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let thread = self.thread.take().expect("still there");
        assert_eq!(thread.join().expect("no panic"), End::Failed, "as the stop flag asks");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// The next line of the node, as JSON.
pub fn answer(stream: &UnixStream) -> Value {
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).expect("an answer in time");
    serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"))
}

/// Packet memory that nothing comes into.
fn no_frames() -> Memory {
    Memory::new(8, 8).by_the_clock()
}

/// A node by this configuration, and its workers.
pub fn node(config: Config, vips: Vips) -> (Node, Vec<JoinHandle<std::io::Result<()>>>) {
    node_over(config, vips, no_frames)
}

/// The same with workers over something else.
fn node_over<Io: PacketIo + Send + 'static>(
    config: Config,
    vips: Vips,
    mut io: impl FnMut() -> Io,
) -> (Node, Vec<JoinHandle<std::io::Result<()>>>) {
    let settings = settings(&config, None);
    let mut publisher = Publisher::new().expect("eventfd");
    let (mut workers, mut threads) = (Vec::new(), Vec::new());
    for queue in 0..2 {
        let board = Arc::new(Board::default());
        let first =
            Publication { snapshot: Arc::new(Snapshot::empty(settings)), cells: Arc::new(Cells::default()), tap: None };
        let inbox = publisher.subscribe(first).expect("eventfd");
        let worker = Worker::new(io(), inbox, board.clone(), Flows::default(), Pace { batch: 8, poll: Poll::Adaptive });
        threads.push(std::thread::spawn(move || worker.run().map(drop)));
        workers.push(WorkerFacts { queue: Some(queue), core: None, zero_copy: false, board });
    }
    let hop = NextHop { destination: MacAddress([2; 6]), source: MacAddress([4; 6]), tag: Tag::None };
    let node = Node::new(Parts {
        facts: Facts { name: "edge".to_owned(), driver: "memory", mode: None },
        builder: Builder::new(settings, config.handover.window_seconds(), workers.len()),
        ways: Ways::Fixed(hop, None),
        routers: None,
        gate: Box::new(OpenGate(vips)),
        routes: None,
        config_file: config.node.state_dir.parent().map(|dir| dir.join("pointsman.toml")),
        config,
        workers,
        publisher,
    });
    (node, threads)
}

/// A service with so many endpoints.
pub fn service(name: &str, vip: &str, endpoints: usize) -> Value {
    let endpoint = |i| json!({ "name": format!("{name}-{i}"), "address": format!("2001:db8:10::{:x}", i + 1) });
    json!({ "name": name, "vip": vip, "endpoints": (0..endpoints).map(endpoint).collect::<Vec<_>>() })
}

/// A set of these services.
pub fn set(services: &[Value]) -> Value {
    json!({ "revision": "r1", "services": services })
}
