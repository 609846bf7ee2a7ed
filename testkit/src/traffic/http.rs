//! As little HTTP as real TCP connections need to carry something: a server that says who it is, and a client.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::Namespace;

/// A server in a namespace, on port 80 of all its addresses. It stops when dropped. Connections stay open for further
/// requests, unless the client asks to close them.
///
/// `GET /` answers `NAME CLIENT-ADDRESS`, `GET /bytes/N` answers N bytes, `POST /` answers `NAME LENGTH` with the
/// number of bytes posted.
pub struct Server {
    listener: TcpListener,
    state: Arc<ServerState>,
}

struct ServerState {
    name: String,
    ending: AtomicBool,
    open: AtomicUsize,
}

impl Server {
    /// Starts a server that calls itself `name`.
    pub fn start(namespace: &Namespace, name: &str) -> Self {
        let listener = namespace.inside(|| TcpListener::bind("[::]:80")).expect("port 80 is free in a new namespace");
        let accepting = listener.try_clone().expect("a socket can be duplicated");
        let state = ServerState { name: name.to_owned(), ending: AtomicBool::new(false), open: AtomicUsize::new(0) };
        let state = Arc::new(state);
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            while let Ok((stream, client)) = accepting.accept() {
                let state = Arc::clone(&shared);
                state.open.fetch_add(1, Ordering::Relaxed);
                thread::spawn(move || {
                    let _ = state.serve(&stream, client);
                    drop(stream);
                    state.open.fetch_sub(1, Ordering::Relaxed);
                });
            }
        });
        Self { listener, state }
    }

    /// From now on, tells each client with the next answer that the connection ends there, as a server does that is
    /// about to be replaced.
    pub fn end_connections(&self) {
        self.state.ending.store(true, Ordering::Relaxed);
    }

    /// How many connections it has.
    pub fn connections(&self) -> usize {
        self.state.open.load(Ordering::Relaxed)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Wakes the thread that waits in `accept`.
        let _ = rustix::net::shutdown(&self.listener, rustix::net::Shutdown::Both);
    }
}

impl ServerState {
    /// Answers requests until one side closes the connection, and waits until the client has closed it too.
    fn serve(&self, stream: &TcpStream, client: SocketAddr) -> io::Result<()> {
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        let mut reader = BufReader::new(stream);
        while !reader.fill_buf()?.is_empty() {
            if self.answer(&mut reader, client)? {
                stream.shutdown(Shutdown::Write)?;
                return io::copy(&mut reader, &mut io::sink()).map(|_| ());
            }
        }
        Ok(())
    }

    /// Answers one request, and tells whether it was the last one of the connection.
    fn answer(&self, reader: &mut BufReader<&TcpStream>, client: SocketAddr) -> io::Result<bool> {
        let (name, head) = (&self.name, Head::read(reader)?);
        let body = match head.first.split(' ').nth(1).and_then(|path| path.strip_prefix("/bytes/")) {
            Some(length) => vec![b'x'; length.parse().map_err(io::Error::other)?],
            None if head.first.starts_with("POST") => {
                let read = io::copy(&mut reader.take(head.length), &mut io::sink())?;
                format!("{name} {read}\n").into_bytes()
            }
            None => format!("{name} {}\n", client.ip().to_canonical()).into_bytes(),
        };
        let last = head.close || self.ending.load(Ordering::Relaxed);
        let connection = if last { "close" } else { "keep-alive" };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: {connection}\r\n\r\n", body.len());
        let mut stream = *reader.get_ref();
        stream.write_all(&[head.as_bytes(), &body].concat())?;
        Ok(last)
    }
}

/// What comes before the body of a message.
#[derive(Default)]
struct Head {
    /// The first line.
    first: String,
    /// The length of what follows.
    length: u64,
    /// Whether the connection ends behind it.
    close: bool,
}

impl Head {
    fn read(reader: &mut impl BufRead) -> io::Result<Self> {
        let mut head = Self::default();
        reader.read_line(&mut head.first)?;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let Some((key, value)) = line.trim_end().split_once(':') else { return Ok(head) };
            match key.to_ascii_lowercase().as_str() {
                "content-length" => head.length = value.trim().parse().map_err(io::Error::other)?,
                "connection" => head.close = value.trim().eq_ignore_ascii_case("close"),
                _ => {}
            }
        }
    }

    fn expect_success(&self) -> io::Result<()> {
        let succeeded = self.first.split(' ').nth(1) == Some("200");
        if succeeded { Ok(()) } else { Err(io::Error::other(format!("answered {}", self.first))) }
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
    two_words(get(server, "/")?)
}

fn two_words(body: Vec<u8>) -> io::Result<(String, String)> {
    let body = String::from_utf8(body).map_err(io::Error::other)?;
    let (name, client) = body.trim_end().split_once(' ').ok_or_else(|| io::Error::other("not two words"))?;
    Ok((name.to_owned(), client.to_owned()))
}

fn request(server: SocketAddr, method: &str, path: &str, body: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = connect(server)?;
    send(&mut stream, (method, path), "close", body)?;
    let mut reader = BufReader::new(stream);
    let head = Head::read(&mut reader)?;
    head.expect_success()?;
    let mut answer = Vec::new();
    reader.read_to_end(&mut answer)?;
    if head.length != 0 && answer.len() as u64 != head.length {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

fn connect(server: SocketAddr) -> io::Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&server, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.set_write_timeout(Some(Duration::from_secs(10)))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn send(mut to: impl Write, (method, path): (&str, &str), connection: &str, body: &[u8]) -> io::Result<()> {
    let length = body.len();
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: vip\r\nConnection: {connection}\r\nContent-Length: {length}\r\n\r\n"
    );
    to.write_all(head.as_bytes())?;
    to.write_all(body)
}

/// A client that keeps its connection for the next request, until the server closes it.
pub struct KeptAlive {
    server: SocketAddr,
    open: Option<BufReader<TcpStream>>,
}

impl KeptAlive {
    /// Connects with the first request.
    pub fn new(server: SocketAddr) -> Self {
        Self { server, open: None }
    }

    /// As [`who`], from the namespace of the calling thread. Nothing is asked a second time: a connection that broke
    /// is a failed request.
    pub fn who(&mut self) -> io::Result<(String, String)> {
        let mut connection = match self.open.take() {
            Some(connection) => connection,
            None => BufReader::new(connect(self.server)?),
        };
        send(connection.get_mut(), ("GET", "/"), "keep-alive", &[])?;
        let head = Head::read(&mut connection)?;
        head.expect_success()?;
        let mut answer = vec![0; usize::try_from(head.length).map_err(io::Error::other)?];
        connection.read_exact(&mut answer)?;
        self.open = (!head.close).then_some(connection);
        two_words(answer)
    }
}
