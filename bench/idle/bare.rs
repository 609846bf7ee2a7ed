//! How soon this machine wakes a program that only answers: what no worker can be faster than.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use core_affinity::CoreId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use testkit::updates::stream::RECEIVER;
use testkit::{EDGE_V4, Topology};

/// Where it listens.
pub const ADDRESS: (Ipv4Addr, u16) = (EDGE_V4, 7);
/// How long it sleeps at most, to notice that it is to end.
const LONGEST_SLEEP: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };

/// A thread on a core that sends each datagram back, to where the client's receiver listens. It ends when this is
/// dropped.
pub struct Answerer {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Answerer {
    /// In place of the daemon. One that `sleeps` waits for datagrams in poll(), as a worker does; another asks for them all the
    /// time.
    pub fn start(topology: &Topology, core: usize, sleeps: bool) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = topology.edge.thread(move || {
            core_affinity::set_for_current(CoreId { id: core });
            answer(&stopped, sleeps);
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Answerer {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

fn answer(stop: &AtomicBool, sleeps: bool) {
    let socket = UdpSocket::bind(ADDRESS).expect("nobody else has it");
    socket.set_nonblocking(true).expect("a socket can be asked");
    let mut datagram = [0; 2048];
    while !stop.load(Ordering::Relaxed) {
        if sleeps {
            _ = poll(&mut [PollFd::new(&socket, PollFlags::IN)], Some(&LONGEST_SLEEP));
        }
        if let Ok((length, from)) = socket.recv_from(&mut datagram) {
            _ = socket.send_to(&datagram[..length], SocketAddr::new(from.ip(), RECEIVER));
        }
    }
}
