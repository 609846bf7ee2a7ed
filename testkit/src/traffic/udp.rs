//! A UDP echo that says who it is, and its client.

use std::io;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use crate::Namespace;

/// The port that [`Echo`] listens on.
pub const PORT: u16 = 7;

/// Answers `NAME ` and the datagram's own bytes from one address of a namespace. It stops when dropped.
pub struct Echo {
    stop: Arc<AtomicBool>,
}

impl Echo {
    /// Starts it on an address that the namespace has.
    pub fn start(namespace: &Namespace, address: IpAddr, name: &str) -> Self {
        let socket = namespace
            .inside(|| UdpSocket::bind((address, PORT)))
            .unwrap_or_else(|error| panic!("cannot listen on {address} in {}: {error}", namespace.name()));
        socket.set_read_timeout(Some(Duration::from_millis(200))).expect("the timeout is not zero");
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let prefix = format!("{name} ").into_bytes();
        thread::spawn(move || {
            let mut datagram = [0; 65536];
            while !stopped.load(Ordering::Relaxed) {
                if let Ok((length, from)) = socket.recv_from(&mut datagram) {
                    let _ = socket.send_to(&[&prefix, &datagram[..length]].concat(), from);
                }
            }
        });
        Self { stop }
    }
}

impl Drop for Echo {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

/// Sends one datagram from a new port, from the namespace of the calling thread, and answers who echoed it.
pub fn ask(vip: IpAddr, payload: &[u8]) -> io::Result<String> {
    let socket = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    ask_by(&socket, vip, payload)
}

/// Sends one datagram from a new port, from the namespace of the calling thread, and waits for nothing.
pub fn send(vip: IpAddr, payload: &[u8]) -> io::Result<()> {
    let socket = UdpSocket::bind(if vip.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" })?;
    socket.send_to(payload, SocketAddr::new(vip, PORT)).map(drop)
}

/// The same by a socket of the caller's.
pub fn ask_by(socket: &UdpSocket, vip: IpAddr, payload: &[u8]) -> io::Result<String> {
    socket.connect(SocketAddr::new(vip, PORT))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.send(payload)?;
    let mut answer = [0; 65536];
    let length = socket.recv(&mut answer)?;
    let name =
        answer[..length].strip_suffix(payload).ok_or_else(|| io::Error::other("the echo is not what was sent"))?;
    Ok(String::from_utf8_lossy(name).trim_end().to_owned())
}
