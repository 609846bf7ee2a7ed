//! As little HTTP as real TCP connections need to carry something: a server that says who it is, and a client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

use super::namespace::Namespace;

/// A server in a namespace, on port 80 of all its addresses. It stops when dropped.
///
/// `GET /` answers `NAME CLIENT-ADDRESS`, `GET /bytes/N` answers N bytes, `POST /` answers `NAME LENGTH` with the
/// number of bytes posted.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Starts a server that calls itself `name`.
    pub fn start(namespace: &Namespace, name: &str) -> Self {
        let listener = namespace.inside(|| TcpListener::bind("[::]:80")).expect("port 80 is free in a new namespace");
        let accepting = listener.try_clone().expect("a socket can be duplicated");
        let name = name.to_owned();
        thread::spawn(move || {
            while let Ok((stream, client)) = accepting.accept() {
                let name = name.clone();
                thread::spawn(move || answer(&stream, &name, client));
            }
        });
        Self { listener }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread that waits in `accept`.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

fn answer(stream: &TcpStream, name: &str, client: SocketAddr) -> io::Result<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let mut reader = BufReader::new(stream);
    let (request, posted) = read_head(&mut reader)?;
    let body = match request.split(' ').nth(1).and_then(|path| path.strip_prefix("/bytes/")) {
        Some(length) => vec![b'x'; length.parse().map_err(io::Error::other)?],
        None if request.starts_with("POST") => {
            let read = io::copy(&mut reader.take(posted), &mut io::sink())?;
            format!("{name} {read}\n").into_bytes()
        }
        None => format!("{name} {}\n", client.ip().to_canonical()).into_bytes(),
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", body.len());
    let mut stream = stream;
    stream.write_all(&[head.as_bytes(), &body].concat())?;
    stream.shutdown(Shutdown::Write)
}

/// The first line of a message, and the length of what follows its head.
fn read_head(reader: &mut impl BufRead) -> io::Result<(String, u64)> {
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match line.trim_end().split_once(':') {
            Some((key, value)) if key.eq_ignore_ascii_case("content-length") => {
                length = value.trim().parse().map_err(io::Error::other)?;
            }
            Some(_) => {}
            None => return Ok((first, length)),
        }
    }
}

/// Fetches `path` over a new connection, from the namespace of the calling thread.
pub fn get(server: SocketAddr, path: &str) -> io::Result<Vec<u8>> {
    request(server, "GET", path, &[])
}

/// Posts `body` over a new connection, from the namespace of the calling thread.
pub fn post(server: SocketAddr, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    request(server, "POST", path, body)
}

/// The two words that `GET /` answers: who answered, and the client's address as it saw it.
pub fn who(server: SocketAddr) -> io::Result<(String, String)> {
    let body = String::from_utf8(get(server, "/")?).map_err(io::Error::other)?;
    let (name, client) = body.trim_end().split_once(' ').ok_or_else(|| io::Error::other("not two words"))?;
    Ok((name.to_owned(), client.to_owned()))
}

fn request(server: SocketAddr, method: &str, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: vip\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n")?;
    stream.write_all(body)?;
    let mut reader = BufReader::new(stream);
    let (status, length) = read_head(&mut reader)?;
    if status.split(' ').nth(1) != Some("200") {
        return Err(io::Error::other(format!("answered {status}")));
    }
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer)?;
    if length != 0 && answer.len() as u64 != length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}
