//! Requests that go on while something else happens.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::{Namespace, SOON, http, wait_until};

/// Asks a VIP who answers, one request after the other, until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    requests: Arc<Mutex<Vec<Request>>>,
    thread: Option<JoinHandle<()>>,
}

/// One request that has ended.
struct Request {
    begun: Instant,
    ended: Instant,
    result: io::Result<String>,
}

impl Load {
    /// Starts asking, from a client's namespace, over a new connection each time.
    pub fn start(client: &Namespace, vip: SocketAddr) -> Self {
        Self::repeat(client, move || http::who(vip))
    }

    /// The same over one connection, as long as the server keeps it open.
    pub fn keep_alive(client: &Namespace, vip: SocketAddr) -> Self {
        let mut connection = http::KeptAlive::new(vip);
        Self::repeat(client, move || {
            // These cost so little that they would take the processor from all others.
            thread::sleep(Duration::from_millis(2));
            connection.who()
        })
    }

    /// Opens connections, and nothing more, with as little patience as tells a short outage from a long one: TCP's own
    /// wait of a second after a lost SYN would hide how long it was.
    pub fn probe(client: &Namespace, vip: SocketAddr) -> Self {
        Self::repeat(client, move || {
            thread::sleep(Duration::from_millis(10));
            TcpStream::connect_timeout(&vip, Duration::from_millis(100)).map(|_| Default::default())
        })
    }

    fn repeat(client: &Namespace, mut ask: impl FnMut() -> io::Result<(String, String)> + Send + 'static) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (stopped, counted, kept) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&requests));
        let thread = client.thread(move || {
            while !stopped.load(Ordering::Relaxed) {
                let begun = Instant::now();
                let result = ask().map(|(name, _)| name);
                let request = Request { begun, ended: Instant::now(), result };
                kept.lock().expect("no holder panics").push(request);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, done, requests, thread: Some(thread) }
    }

    /// Waits for `count` more requests to end, well or not.
    pub fn run(&self, count: u64) {
        let until = self.done.load(Ordering::Relaxed) + count;
        assert!(wait_until(4 * SOON, || self.done.load(Ordering::Relaxed) >= until), "requests stand still");
    }

    /// Stops, and answers who answered each of the requests, in order.
    pub fn finish(self) -> Vec<io::Result<String>> {
        self.report().requests.into_iter().map(|request| request.result).collect()
    }

    /// Stops, and answers how it went.
    pub fn report(mut self) -> Report {
        self.stop_and_join();
        Report { requests: std::mem::take(&mut self.requests.lock().expect("no holder panics")) }
    }

    fn stop_and_join(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop_and_join();
    }
}

/// How the requests of a [`Load`] went.
pub struct Report {
    requests: Vec<Request>,
}

impl Report {
    /// How many there were.
    pub fn count(&self) -> usize {
        self.requests.len()
    }

    /// Why those failed that did.
    pub fn failures(&self) -> Vec<&io::Error> {
        self.requests.iter().filter_map(|request| request.result.as_ref().err()).collect()
    }

    /// The longest time in which no request was answered.
    pub fn longest_silence(&self) -> Duration {
        let begin = self.requests.first().map(|request| request.begun);
        let answered = self.requests.iter().filter(|request| request.result.is_ok()).map(|request| request.ended);
        let end = self.requests.last().map(|request| request.ended);
        let moments: Vec<Instant> = begin.into_iter().chain(answered).chain(end).collect();
        moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or_default()
    }

    /// Why those failed that failed after this moment.
    pub fn failures_since(&self, moment: Instant) -> Vec<&io::Error> {
        let since = self.requests.iter().filter(|request| request.ended >= moment);
        since.filter_map(|request| request.result.as_ref().err()).collect()
    }

    /// How long after this moment requests failed, some or all: until so many in a row were answered.
    pub fn failing_since(&self, moment: Instant, in_a_row: usize) -> Duration {
        let (mut last, mut answered) = (moment, 0);
        for request in self.requests.iter().filter(|request| request.ended >= moment) {
            match request.result {
                Err(_) => (last, answered) = (request.ended, 0),
                Ok(_) => answered += 1,
            }
            if answered == in_a_row {
                break;
            }
        }
        last - moment
    }

    /// The longest that a request took which began after this moment.
    pub fn slowest_since(&self, moment: Instant) -> Duration {
        let since = self.requests.iter().filter(|request| request.begun >= moment);
        since.map(|request| request.ended - request.begun).max().unwrap_or_default()
    }
}
