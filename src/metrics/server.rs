//! The thread that answers HTTP clients: few of them at once, none for long.

use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use mio::net::TcpListener;
use mio::{Events, Interest, Poll, Token, Waker};
use rustix::net::{AddressFamily, SocketFlags, SocketType, ipproto, sockopt};

use super::connection::{Connection, Progress};
use super::page::Page;
use crate::stats::Counters;

const LISTENER: Token = Token(0);
const STOP: Token = Token(1);
const FIRST_CLIENT: usize = 2;

/// The most clients at once; for one more the oldest goes, so that nobody can keep Prometheus out by just staying.
const MOST_CLIENTS: usize = 32;
/// The longest that a client may take for question and answer. Prometheus itself waits ten seconds.
const LONGEST: Duration = Duration::from_secs(10);
/// How long those that are being answered keep the thread from ending.
const LAST_WORDS: Duration = Duration::from_millis(200);
/// After how long those are asked for again that could not be let in for want of descriptors or memory.
const AGAIN: Duration = Duration::from_millis(500);
/// How many wait in the kernel to be let in, and how many are let in before the others get their turn.
const BACKLOG: i32 = 64;

/// Metrics cannot be served where the config says.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody listens there.
    #[error("metrics.listen: {0} is in use by another program; stop it, or choose another port")]
    InUse(SocketAddr),
    /// Anything else of the kernel's.
    #[error("metrics.listen: cannot listen on {address}: {error}")]
    Io {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: io::Error,
    },
}

/// Listens at an address, which the node need not have yet: one that comes up later is served then.
pub fn listen(address: SocketAddr) -> Result<StdListener, ListenError> {
    try_listen(address).map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Io { address, error },
    })
}

fn try_listen(address: SocketAddr) -> io::Result<StdListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::STREAM, flags, Some(ipproto::TCP))?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    match address {
        SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
        SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
    }
    rustix::net::bind(&socket, &address)?;
    rustix::net::listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

/// The thread; it ends when this is dropped, with the answers that it has begun. Whoever comes then waits at the listener,
/// for whoever else has it.
pub struct Server {
    stop: Waker,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    /// Serves these counters to whoever connects, from a thread that does this first: it may give up what it could do.
    pub fn start(
        listener: StdListener,
        counters: Arc<Counters>,
        first: impl FnOnce() + Send + 'static,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        let stop = Waker::new(poll.registry(), STOP)?;
        listener.set_nonblocking(true)?;
        let mut listener = TcpListener::from_std(listener);
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let mut clients = Clients {
            poll,
            listener,
            all: HashMap::new(),
            next: FIRST_CLIENT,
            more: false,
            shut_out_until: None,
            stop_at: None,
            page: Page::new(counters),
        };
        let (begun, has_begun) = mpsc::channel::<()>();
        let body = move || {
            first();
            drop(begun);
            if let Err(error) = clients.serve() {
                tracing::error!("metrics are no longer served: {error}");
            }
        };
        let thread = std::thread::Builder::new().name("metrics".to_owned()).spawn(body)?;
        // Nothing is sent: the other end goes.
        _ = has_begun.recv();
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let woken = self.stop.wake();
        // A thread that cannot be told is left to end with the process.
        if let Some(thread) = self.thread.take().filter(|_| woken.is_ok()) {
            _ = thread.join();
        }
    }
}

struct Clients {
    poll: Poll,
    listener: TcpListener,
    all: HashMap<Token, Connection>,
    next: usize,
    /// Some may wait of whom the kernel will not tell again.
    more: bool,
    /// They are let in then: descriptors or memory were missing.
    shut_out_until: Option<Instant>,
    /// When those that are here are let go; nobody else is let in before.
    stop_at: Option<Instant>,
    page: Page,
}

impl Clients {
    /// Serves until asked to stop.
    fn serve(&mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(2 * MOST_CLIENTS);
        while !self.is_over() {
            match self.poll.poll(&mut events, self.time_left()) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
                _ => {}
            }
            for event in &events {
                match event.token() {
                    STOP => self.stop_at = Some(Instant::now() + LAST_WORDS),
                    LISTENER => self.more = true,
                    client => self.attend(client),
                }
            }
            if self.may_accept() {
                self.more = self.accept();
            }
            let now = Instant::now();
            self.all.retain(|_, client| now.duration_since(client.since) < LONGEST);
        }
        Ok(())
    }

    /// Whether it was asked to stop, and nobody waits for the rest of an answer, or has waited for long enough.
    fn is_over(&self) -> bool {
        self.stop_at.is_some_and(|end| self.all.is_empty() || Instant::now() >= end)
    }

    /// The time until the oldest client has had its time.
    fn time_left(&self) -> Option<Duration> {
        if self.may_accept() {
            return Some(Duration::ZERO);
        }
        let oldest = self.all.values().map(|client| client.since + LONGEST).min();
        let end = oldest.into_iter().chain(self.stop_at).chain(self.shut_out_until).min()?;
        Some(end.saturating_duration_since(Instant::now()))
    }

    fn may_accept(&self) -> bool {
        let is_time = self.shut_out_until.is_none_or(|until| Instant::now() >= until);
        self.more && self.stop_at.is_none() && is_time
    }

    /// Lets some in that wait; answers whether there may be more.
    fn accept(&mut self) -> bool {
        for _ in 0..BACKLOG {
            match self.listener.accept() {
                Ok((stream, _)) => {
                    self.shut_out_until = None;
                    self.admit(stream);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.shut_out_until = None;
                    return false;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    if self.shut_out_until.replace(Instant::now() + AGAIN).is_none() {
                        tracing::warn!("no client of the metrics can be let in, and they wait: {error}");
                    }
                    return true;
                }
            }
        }
        true
    }

    fn admit(&mut self, mut stream: mio::net::TcpStream) {
        if self.all.len() >= MOST_CLIENTS
            && let Some(oldest) =
                self.all.iter().min_by_key(|(token, client)| (client.since, token.0)).map(|(token, _)| *token)
        {
            self.all.remove(&oldest);
        }
        let token = Token(self.next);
        self.next += 1;
        let interest = Interest::READABLE | Interest::WRITABLE;
        if self.poll.registry().register(&mut stream, token, interest).is_ok() {
            self.all.insert(token, Connection::new(stream, Instant::now()));
        }
    }

    fn attend(&mut self, token: Token) {
        let Some(client) = self.all.get_mut(&token) else { return };
        let page = &mut self.page;
        if client.turn(|| page.get(Instant::now())) == Progress::Over {
            self.all.remove(&token);
        }
    }
}
