//! A steady stream of numbered datagrams over several flows, and what has come of it at the other end.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::{Namespace, SOON, wait_until};

const PORT: u16 = 9;

/// The sender and its listeners; both end when it is dropped.
pub struct Stream {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicU32>,
    flows: u32,
    sender: Option<JoinHandle<()>>,
    listeners: Vec<JoinHandle<()>>,
    heard: Arc<Mutex<Heard>>,
    deaf: Arc<AtomicBool>,
}

/// What has come.
#[derive(Clone, Debug, Default)]
pub struct Heard {
    /// By flow: the number that is to come next.
    next: BTreeMap<u16, u32>,
    /// How many datagrams have come.
    pub count: u64,
    /// Numbers that were passed over.
    pub lost: u64,
    /// Numbers that came when a higher one had come: late, or twice.
    pub late: u64,
    /// The longest time between two datagrams.
    pub silence: Duration,
    last: Option<Instant>,
}

impl Heard {
    fn take(&mut self, flow: u16, number: u32) {
        let next = self.next.entry(flow).or_default();
        match number.checked_sub(*next) {
            Some(passed) => {
                self.lost += u64::from(passed);
                *next = number + 1;
            }
            None => self.late += 1,
        }
        self.count += 1;
        let now = Instant::now();
        if let Some(last) = self.last.replace(now) {
            self.silence = self.silence.max(now - last);
        }
    }
}

impl Stream {
    /// Sends a datagram of each flow once every `pause`, from the client to a VIP that these namespaces have.
    pub fn start(client: &Namespace, vip: IpAddr, endpoints: &[&Namespace], flows: u32, pause: Duration) -> Self {
        let (stop, deaf) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let (sent, heard) = (Arc::new(AtomicU32::new(0)), Arc::new(Mutex::new(Heard::default())));
        let listen = |namespace: &&Namespace| {
            let socket = bind(namespace, vip);
            // What the listener is too slow for is not lost on the way.
            set_socket_recv_buffer_size_force(&socket, 64 << 20).expect("root may");
            socket.set_read_timeout(Some(Duration::from_millis(50))).expect("the timeout is not zero");
            let (heard, deaf) = (Arc::clone(&heard), Arc::clone(&deaf));
            thread::spawn(move || {
                let mut datagram = [0; 64];
                while !deaf.load(Ordering::Relaxed) {
                    if let Ok((_, from)) = socket.recv_from(&mut datagram) {
                        let number = u32::from_be_bytes([datagram[0], datagram[1], datagram[2], datagram[3]]);
                        heard.lock().expect("no holder panics").take(from.port(), number);
                    }
                }
            })
        };
        let listeners = endpoints.iter().map(listen).collect();
        let any = if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let open = || (0..flows).map(|_| UdpSocket::bind(any)).collect::<Result<Vec<_>, _>>();
        let sockets = client.inside(open).expect("there are ports");
        let (stopped, counted) = (Arc::clone(&stop), Arc::clone(&sent));
        let sender = thread::spawn(move || {
            let (begun, mut number) = (Instant::now(), 0u32);
            while !stopped.load(Ordering::Relaxed) {
                for socket in &sockets {
                    // A queue of the client's own that is full is no matter of the node's.
                    while socket.send_to(&number.to_be_bytes(), SocketAddr::new(vip, PORT)).is_err() {
                        thread::yield_now();
                    }
                }
                number += 1;
                counted.store(number, Ordering::Relaxed);
                // What was late is not made up for in a burst.
                let due = begun + pause * number;
                thread::sleep(due.saturating_duration_since(Instant::now()).max(pause / 2));
            }
        });
        Self { stop, sent, flows, sender: Some(sender), listeners, heard, deaf }
    }

    /// What has come so far.
    pub fn heard(&self) -> Heard {
        self.heard.lock().expect("no holder panics").clone()
    }

    /// How many numbers have been sent, each in every flow.
    pub fn sent(&self) -> u32 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Waits for so many more numbers to come.
    pub fn run(&self, numbers: u32) {
        let until = self.heard().count + u64::from(numbers * self.flows);
        let more = wait_until(4 * SOON, || self.heard().count >= until);
        assert!(more, "the stream stands still: {:?} of {}", self.heard(), self.sent.load(Ordering::Relaxed));
    }

    /// Stops sending, waits for the rest, and answers how many datagrams were sent and what has come.
    pub fn finish(mut self) -> (u64, Heard) {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.take().expect("it was started").join().expect("it only sends");
        let sent = u64::from(self.sent.load(Ordering::Relaxed)) * u64::from(self.flows);
        wait_until(Duration::from_secs(3), || self.heard().count >= sent);
        // What comes twice may come later.
        thread::sleep(Duration::from_millis(100));
        (sent, self.heard())
    }
}

/// A child that another test has just started may still have the socket of an earlier stream.
fn bind(namespace: &Namespace, vip: IpAddr) -> UdpSocket {
    let mut bound = None;
    wait_until(SOON, || {
        bound = Some(namespace.inside(|| UdpSocket::bind((vip, PORT))));
        bound.as_ref().is_some_and(Result::is_ok)
    });
    bound.expect("it was tried").expect("the namespace has the VIP")
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.deaf.store(true, Ordering::Relaxed);
        if let Some(sender) = self.sender.take() {
            _ = sender.join();
        }
        self.listeners.drain(..).for_each(|listener| _ = listener.join());
    }
}
