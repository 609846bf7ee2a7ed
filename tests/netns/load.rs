//! Requests that go on while something else happens.

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use super::{Namespace, SOON, http, wait_until};

/// Asks a VIP who answers, over a new connection each time, until told to stop.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    results: Arc<Mutex<Vec<io::Result<String>>>>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Starts asking, from a client's namespace.
    pub fn start(client: &Namespace, vip: SocketAddr) -> Self {
        let (stop, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let results = Arc::new(Mutex::new(Vec::new()));
        let (stopped, counted, kept) = (Arc::clone(&stop), Arc::clone(&done), Arc::clone(&results));
        let thread = client.thread(move || {
            while !stopped.load(Ordering::Relaxed) {
                let result = http::who(vip).map(|(name, _)| name);
                kept.lock().expect("no holder panics").push(result);
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, done, results, thread: Some(thread) }
    }

    /// Waits for `count` more requests to end, well or not.
    pub fn run(&self, count: u64) {
        let until = self.done.load(Ordering::Relaxed) + count;
        assert!(wait_until(4 * SOON, || self.done.load(Ordering::Relaxed) >= until), "requests stand still");
    }

    /// Stops, and answers who answered each of the requests, in order.
    pub fn finish(mut self) -> Vec<io::Result<String>> {
        self.stop_and_join();
        std::mem::take(&mut self.results.lock().expect("no holder panics"))
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
