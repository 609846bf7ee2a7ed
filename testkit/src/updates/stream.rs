//! Datagrams at an even pace through the node, and how long each was on its way.
//!
//! A datagram is stamped just before it is sent, by a thread that nothing but the kernel can take the core from in between.
//! It is stamped again when it gets to the stack of its endpoint, which is the worker's doing still: on a veth, whoever
//! sends carries the packet as far as that. So the delay is the way to the worker's ring, until the worker looks there,
//! what it does with the packet, and the way from it. When the receiver gets to read it means nothing.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use super::kernel::{came_at, make_urgent, now};
use super::syncer::vip;
use crate::Namespace;

/// Where datagrams are received: it is where GUE goes.
pub const RECEIVER: u16 = 6080;
/// All endpoints' addresses.
const ENDPOINTS: &str = "2001:db8:10::/44";
/// Nobody counts datagrams that are sent between two phases.
const BETWEEN: u8 = u8::MAX;

/// Its sender and its receiver; both end when it is dropped.
pub struct Stream {
    stop: Arc<AtomicBool>,
    phase: Arc<AtomicU8>,
    heard: Arc<Mutex<Vec<(u8, u64)>>>,
    threads: Vec<JoinHandle<()>>,
}

impl Stream {
    /// Sends a datagram each `pause` from the client to the first VIP, over many flows, and receives what the node makes of
    /// it, in GUE, for all endpoints.
    pub fn start(client: &Namespace, pause: Duration) -> Self {
        Self::towards(client, first_vip(), pause)
    }

    /// The same to somebody who sends each datagram back to the receiver as it is.
    pub fn towards(client: &Namespace, to: SocketAddr, pause: Duration) -> Self {
        client.run(&["ip", "route", "replace", "local", ENDPOINTS, "dev", "lo"]);
        let (stop, phase) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU8::new(BETWEEN)));
        let heard = Arc::new(Mutex::new(Vec::new()));
        let receiver = {
            let (stop, heard) = (stop.clone(), heard.clone());
            client.thread(move || receive(&stop, &heard))
        };
        let sender = {
            let (stop, phase) = (stop.clone(), phase.clone());
            client.thread(move || send(&stop, &phase, (to, pause)))
        };
        Self { stop, phase, heard, threads: vec![sender, receiver] }
    }

    /// Does some work in a phase of this number.
    pub fn during<T>(&self, phase: u8, work: impl FnOnce() -> T) -> T {
        self.phase.store(phase, Ordering::Relaxed);
        let result = work();
        self.phase.store(BETWEEN, Ordering::Relaxed);
        // What is on its way still gets there.
        thread::sleep(Duration::from_millis(200));
        result
    }

    /// Takes the delays of all datagrams that came of a phase, in nanoseconds, the shortest first.
    pub fn take(&self, phase: u8) -> Vec<u64> {
        let mut heard = self.heard.lock().expect("no holder panics");
        let mut delays: Vec<u64> = heard.extract_if(.., |(of, _)| *of == phase).map(|(_, delay)| delay).collect();
        delays.sort_unstable();
        delays
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

/// What a share of all values, of which the least is the first, does not exceed.
pub fn quantile(sorted: &[u64], share: f64) -> f64 {
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).map_or(f64::NAN, |value| *value as f64)
}

/// Does some work while the client sends what one core can to the first VIP. Nobody receives it.
pub fn flood(client: &Namespace, work: impl FnOnce()) {
    client.try_run(&["ip", "route", "delete", "local", ENDPOINTS]);
    let stop = Arc::new(AtomicBool::new(false));
    let stopped = stop.clone();
    let sender = client.thread(move || {
        let sockets = sockets(first_vip());
        for socket in sockets.iter().cycle().take_while(|_| !stopped.load(Ordering::Relaxed)) {
            _ = socket.send(&[0; 18]);
        }
    });
    work();
    stop.store(true, Ordering::Relaxed);
    _ = sender.join();
}

fn first_vip() -> SocketAddr {
    SocketAddr::from((vip(0).parse::<Ipv4Addr>().expect("an address"), 80))
}

/// One for each of the flows.
fn sockets(to: SocketAddr) -> Vec<UdpSocket> {
    let connected = |_| {
        let socket = UdpSocket::bind("0.0.0.0:0").expect("a port");
        socket.connect(to).map(|()| socket)
    };
    (0..64).map(connected).collect::<Result<_, _>>().expect("there is a route")
}

fn send(stop: &AtomicBool, phase: &AtomicU8, (to, pause): (SocketAddr, Duration)) {
    make_urgent(None).expect("root may");
    let sockets = sockets(to);
    let mut due = Instant::now();
    for socket in sockets.iter().cycle() {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let mut datagram = [0; 100];
        if let Some((rest, stamp)) = datagram.split_last_chunk_mut() {
            rest[rest.len() - 1] = phase.load(Ordering::Relaxed);
            *stamp = now().to_ne_bytes();
        }
        _ = socket.send(&datagram);
        due += pause;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

fn receive(stop: &AtomicBool, heard: &Mutex<Vec<(u8, u64)>>) {
    let socket = UdpSocket::bind(("::", RECEIVER)).expect("nobody else has it");
    set_socket_recv_buffer_size_force(&socket, 64 << 20).expect("root may");
    socket.set_read_timeout(Some(Duration::from_millis(100))).expect("it is not zero");
    let mut packet = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        let Ok(length) = socket.recv(&mut packet) else { continue };
        let Ok(came) = came_at(&socket) else { continue };
        if let Some((rest, sent)) = packet[..length].split_last_chunk()
            && let Some(phase) = rest.last()
        {
            let delay = came.saturating_sub(u64::from_ne_bytes(*sent));
            heard.lock().expect("no holder panics").push((*phase, delay));
        }
    }
}
