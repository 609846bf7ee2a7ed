//! One long TCP connection that must not notice pointsman: a stand-in for an operator's ssh.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::{Namespace, SOON, wait_until};

/// A client that sends a byte to a server, waits for it to come back, and does so again until dropped.
pub struct Heartbeat {
    beats: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    client: Option<JoinHandle<()>>,
}

impl Heartbeat {
    /// Connects from `client` to `address`, which the namespace `server` has.
    pub fn start(client: &Namespace, server: &Namespace, address: SocketAddr) -> Self {
        let listener = server.inside(|| TcpListener::bind(address)).expect("the server has the address");
        thread::spawn(move || {
            let (mut stream, _) = listener.accept()?;
            let mut byte = [0];
            while stream.read(&mut byte)? == 1 {
                stream.write_all(&byte)?;
            }
            std::io::Result::Ok(())
        });
        let mut stream = client.inside(|| TcpStream::connect_timeout(&address, SOON)).expect("the edge node answers");
        stream.set_read_timeout(Some(SOON)).expect("the timeout is not zero");
        let (beats, stop) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
        let (counted, stopped) = (Arc::clone(&beats), Arc::clone(&stop));
        let client = thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                stream.write_all(b".").expect("the connection lives");
                stream.read_exact(&mut [0]).expect("the connection lives");
                counted.fetch_add(1, Ordering::Relaxed);
                thread::sleep(Duration::from_millis(5));
            }
        });
        Self { beats, stop, client: Some(client) }
    }

    /// Waits for some more round trips over the one connection; panics where they do not come.
    pub fn goes_on(&self, when: &str) {
        let before = self.beats.load(Ordering::Relaxed);
        let more = wait_until(SOON, || self.beats.load(Ordering::Relaxed) >= before + 10);
        assert!(more, "a TCP connection to the edge node's own address stood still {when}");
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let ended = self.client.take().map(JoinHandle::join);
        if !thread::panicking() {
            assert!(matches!(ended, Some(Ok(()))), "the TCP connection to the edge node's own address broke");
        }
    }
}
