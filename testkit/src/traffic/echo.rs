//! TCP whose every byte is looked at: a server that sends back what it gets, and a client that compares.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use crate::Namespace;

const PORT: u16 = 7;
const LIMIT: Duration = Duration::from_secs(60);

/// Serves on all addresses of a namespace until the test ends.
pub fn serve(namespace: &Namespace) {
    let listener = namespace.inside(|| TcpListener::bind(("::", PORT))).expect("the port is free");
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            thread::spawn(move || io::copy(&mut &stream, &mut &stream));
        }
    });
}

/// Sends so many bytes, no two stretches of them alike, gets them back, and answers whether they are the same.
pub fn comes_back(client: &Namespace, vip: IpAddr, len: usize) -> io::Result<bool> {
    client.inside(|| {
        let stream = TcpStream::connect_timeout(&SocketAddr::new(vip, PORT), LIMIT)?;
        stream.set_read_timeout(Some(LIMIT))?;
        stream.set_write_timeout(Some(LIMIT))?;
        let sent = noise(len);
        let mut came = Vec::new();
        thread::scope(|scope| {
            let writer = scope.spawn(|| {
                (&stream).write_all(&sent)?;
                stream.shutdown(Shutdown::Write)
            });
            let read = (&stream).read_to_end(&mut came);
            writer.join().expect("it only writes").and(read)
        })?;
        Ok(came == sent)
    })
}

/// The same bytes each time (xorshift).
fn noise(len: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    };
    (0..len.div_ceil(8)).flat_map(|_| next()).take(len).collect()
}
