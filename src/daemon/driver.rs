//! Opens the interface: AF_XDP with the steering program, or AF_PACKET with the guard.

use std::time::Duration;

use crate::config::{Config, Driver};
use crate::io::packet_socket::PacketSocket;
use crate::io::xsk::{XskError, XskIo, XskOptions, chunk_size};
use crate::io::{KernelStatistics, PacketIo};
use crate::moment::Moment;
use crate::steer::{Gate, Guard, Mode, SteerError, Steering, rx_queues, tx_queues};
use crate::underlay::Link;
use std::os::fd::AsFd;

/// Why the interface cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// The steering program or the guard.
    #[error(transparent)]
    Steer(#[from] SteerError),
    /// An AF_XDP socket.
    #[error(transparent)]
    Xsk(#[from] XskError),
    /// An AF_PACKET socket.
    #[error("{interface}: AF_PACKET cannot be had: {error}")]
    PacketSocket {
        /// The interface.
        interface: String,
        /// Why.
        error: std::io::Error,
    },
    /// Another process has handed over less than a queue.
    #[error("queue {0} has come without its socket")]
    NothingPassedOn(u32),
    /// The config asks for a queue that is not there.
    #[error("{interface} has no queue {queue}: its receive queues are 0..{last}; see interface.queues")]
    NoQueue {
        /// The interface.
        interface: String,
        /// The queue asked for.
        queue: u32,
        /// The last one there is.
        last: u32,
    },
    /// What comes in by some queue could not leave.
    #[error(
        "{interface} has {receiving} queues to receive by and {sending} to send by, and an AF_XDP socket sends by the queue it \
         receives from: give it as many of both (pointsman cleanup --detach, then ethtool -L {interface} combined \
         {receiving}), or set driver = \"af_packet\""
    )]
    NoWayOut {
        /// The interface.
        interface: String,
        /// How many receive queues it has.
        receiving: u32,
        /// How many others.
        sending: u32,
    },
}

/// The way in and out of one queue. The types are large, so they are boxed for the short way to their worker.
pub enum QueueIo {
    /// AF_XDP.
    Xsk(Box<XskIo>),
    /// AF_PACKET.
    Packet(Box<PacketSocket>),
    /// Whatever a test wants.
    #[cfg(test)]
    Test(Box<super::tests::Queue>),
}

impl QueueIo {
    /// Whether packet memory is shared with the device.
    pub fn zero_copy(&self) -> bool {
        matches!(self, Self::Xsk(io) if io.zero_copy())
    }

    /// The moment.
    pub fn now(&mut self) -> Moment {
        match self {
            Self::Xsk(io) => io.now(),
            Self::Packet(io) => io.now(),
            #[cfg(test)]
            Self::Test(io) => io.now(),
        }
    }

    /// What the kernel has counted.
    pub fn statistics(&mut self) -> KernelStatistics {
        match self {
            Self::Xsk(io) => io.statistics(),
            Self::Packet(io) => io.statistics(),
            #[cfg(test)]
            Self::Test(io) => io.statistics(),
        }
    }
}

/// An interface that is open, with the gate shut.
pub struct Opened {
    /// `af_xdp` or `af_packet`.
    pub driver: &'static str,
    /// Where the steering program runs, if there is one.
    pub mode: Option<Mode>,
    /// Lets VIP packets in.
    pub gate: Gate,
    /// By the number of the queue.
    pub queues: Vec<(u32, QueueIo)>,
    /// What the sockets were made for; none with AF_PACKET, whose sockets fit all.
    pub shape: Option<Shape>,
}

/// What decides which AF_XDP sockets an interface needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shape {
    /// How many receive queues it has.
    pub queues: u32,
    /// The bytes of packet memory that a frame takes; none: it is too big for any socket.
    pub chunk: Option<u32>,
}

impl Shape {
    /// What has changed between then and now, where sockets made then do not do now, in words.
    pub fn outgrown_by(self, now: Self) -> Option<String> {
        if now.queues != self.queues {
            return Some(format!("it has {} receive queues now, where it had {}", now.queues, self.queues));
        }
        let is_larger = now.chunk.is_none_or(|now| self.chunk.is_some_and(|then| now > then));
        is_larger.then(|| "its MTU is too large for the packet memory".to_owned())
    }
}

/// What the interface is like now.
pub fn shape(config: &Config, link: &Link) -> Shape {
    Shape { queues: rx_queues(&config.interface.name).unwrap_or(1).max(1), chunk: chunk_size(link.mtu) }
}

/// The queues to open, of as many as there are.
pub fn queue_numbers(config: &Config, count: u32) -> Vec<u32> {
    config.interface.queues.clone().unwrap_or_else(|| (0..count).collect())
}

/// Opens the interface as the config says; a queue that another process has may take so long to be let go.
pub fn open(config: &Config, link: &Link, patience: Duration) -> Result<Opened, DriverError> {
    match config.interface.driver {
        Driver::AfXdp => open_xdp(config, link, patience),
        Driver::AfPacket => open_packet(config),
        Driver::Auto => match open_xdp(config, link, patience) {
            Err(error) if is_for_good(&error) => {
                tracing::warn!("AF_XDP is not to be had, so AF_PACKET it is: {error}");
                open_packet(config)
            }
            other => other,
        },
    }
}

/// Whether AF_XDP is not to be had here at all. What can be mended, or passes, is no reason for another driver: a
/// steering program that an earlier run left would have to go, and the kernel would answer for the VIPs meanwhile.
fn is_for_good(error: &DriverError) -> bool {
    match error {
        DriverError::Steer(error) => matches!(error, SteerError::NoNative { .. } | SteerError::Failed { .. }),
        DriverError::Xsk(error) => matches!(error, XskError::NotSupported | XskError::Mtu { .. }),
        DriverError::NoWayOut { .. } => true,
        DriverError::PacketSocket { .. } | DriverError::NoQueue { .. } | DriverError::NothingPassedOn(_) => false,
    }
}

/// Where a socket cannot be had, the steering program stays as it stands: a new one has no VIPs and passes everything,
/// and an earlier run's goes on dropping, as it does while the daemon is away.
fn open_xdp(config: &Config, link: &Link, patience: Duration) -> Result<Opened, DriverError> {
    let interface = &config.interface;
    let mut steering = Steering::open(&interface.name, interface.xdp_mode, &interface.pin)?;
    // Looked at now: attaching an XDP program can raise the number of queues.
    let shape = shape(config, link);
    let queues = open_sockets(config, link, patience, shape.queues, &mut steering)?;
    let mode = Some(steering.mode());
    Ok(Opened { driver: "af_xdp", mode, gate: Gate::Xdp(steering), queues, shape: Some(shape) })
}

fn open_sockets(
    config: &Config,
    link: &Link,
    patience: Duration,
    count: u32,
    steering: &mut Steering,
) -> Result<Vec<(u32, QueueIo)>, DriverError> {
    let interface = &config.interface;
    let numbers = queue_numbers(config, count);
    let missing = numbers.iter().find(|queue| **queue >= count);
    if let Some(queue) = missing {
        return Err(DriverError::NoQueue { interface: interface.name.clone(), queue: *queue, last: count - 1 });
    }
    let sending = tx_queues(&interface.name, link.index, count).unwrap_or(count);
    if numbers.iter().any(|queue| *queue >= sending) {
        return Err(DriverError::NoWayOut { interface: interface.name.clone(), receiving: count, sending });
    }
    if numbers.len() < count as usize {
        tracing::warn!(
            "{} has {count} queues; VIP packets that come by one not in interface.queues are dropped uncounted",
            interface.name
        );
    }
    let mut queues = Vec::new();
    for queue in numbers {
        let io = XskIo::open(&XskOptions {
            interface_index: link.index,
            queue,
            frames: interface.frames,
            mtu: link.mtu,
            zero_copy: interface.zero_copy,
            patience,
        })?;
        steering.set_socket(queue, io.as_fd())?;
        queues.push((queue, QueueIo::Xsk(Box::new(io))));
    }
    Ok(queues)
}

/// One socket a configured queue; together they are a fan-out group, since AF_PACKET knows no queues.
fn open_packet(config: &Config) -> Result<Opened, DriverError> {
    let interface = &config.interface;
    let guard = Guard::open(&interface.name, &interface.pin)?;
    let numbers = queue_numbers(config, rx_queues(&interface.name).unwrap_or(1).max(1));
    let group = (numbers.len() > 1).then(|| std::process::id() as u16);
    let socket = |queue| match PacketSocket::open(&interface.name, interface.frames, group) {
        Ok(io) => Ok((queue, QueueIo::Packet(Box::new(io)))),
        Err(error) => Err(DriverError::PacketSocket { interface: interface.name.clone(), error }),
    };
    let queues = numbers.into_iter().map(socket).collect::<Result<Vec<_>, _>>()?;
    Ok(Opened { driver: "af_packet", mode: None, gate: Gate::Tc(guard), queues, shape: None })
}
