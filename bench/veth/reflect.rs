//! Reflectors: what AF_XDP alone costs, in this project's `io/xsk` and in the crate `afxdp`.

use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use anyhow::Context;
use aya::Ebpf;
use aya::maps::XskMap;
use aya::programs::{Xdp, xdp::XdpMode};
use pointsman::config::ZeroCopy;
use pointsman::io::PacketIo;
use pointsman::io::xsk::{XskIo, XskOptions};
use rustix::event::{EventfdFlags, eventfd};

use crate::contestants::Contestant;
use crate::pair::LINK;
use testkit::traffic::GENERATOR;

/// Frames of packet memory, and the most that are taken at once: the daemon's defaults.
const FRAMES: u32 = 4096;
const BATCH: usize = 64;
/// Empty polls before a look at the socket's health.
const POLLS: u32 = 1 << 20;

/// Becomes a reflector.
pub fn run(contestant: Contestant) -> anyhow::Result<()> {
    match contestant {
        #[cfg(feature = "yardsticks")]
        Contestant::Afxdp => by_afxdp(),
        _ => by_io_xsk(),
    }
}

/// Sends all that comes in by the link back with its MAC addresses exchanged, until it is killed.
fn by_io_xsk() -> anyhow::Result<()> {
    let mut loaded = Ebpf::load(GENERATOR)?;
    let program: &mut Xdp = loaded.program_mut("to_socket").context("the program is there")?.try_into()?;
    program.load()?;
    program.attach(LINK, XdpMode::Driver)?;
    let links = pnet::datalink::interfaces();
    let interface_index = links.iter().find(|link| link.name == LINK).context("the pair is there")?.index;
    let mut io = XskIo::open(&XskOptions {
        interface_index,
        queue: 0,
        frames: FRAMES,
        mtu: 1500,
        zero_copy: ZeroCopy::Off,
        patience: Duration::from_secs(3),
    })?;
    let mut sockets = XskMap::try_from(loaded.take_map("sockets").context("the map is there")?)?;
    sockets.set(0, io.as_fd().as_raw_fd(), 0)?;
    let (wake, mut batch, mut idle) = (eventfd(0, EventfdFlags::CLOEXEC)?, Vec::new(), 0);
    println!("ready");
    loop {
        io.receive(&mut batch, BATCH)?;
        idle = if batch.is_empty() { idle + 1 } else { 0 };
        if idle == POLLS {
            io.wait(wake.as_fd(), Duration::ZERO)?;
            idle = 0;
        }
        for held in batch.drain(..) {
            exchange(io.frame(&held).bytes_mut());
            io.send(held);
        }
        io.flush()?;
    }
}

/// Exchanges the two MAC addresses of a frame.
fn exchange(frame: &mut [u8]) {
    if let Some((to, from)) = frame.split_at_mut_checked(6) {
        to.swap_with_slice(&mut from[..6]);
    }
}

/// The same by the crate, in the way of its example `l2fwd-1link`.
#[cfg(feature = "yardsticks")]
fn by_afxdp() -> anyhow::Result<()> {
    use afxdp::buf::Buf;
    use afxdp::mmap_area::{MmapArea, MmapAreaOptions};
    use afxdp::socket::{Socket, SocketOptions};
    use afxdp::umem::Umem;
    use anyhow::anyhow;
    use arraydeque::{ArrayDeque, Wrapping};

    const RING: u32 = FRAMES / 2;
    let (area, mut free) = MmapArea::<()>::new(FRAMES as usize, 2048, MmapAreaOptions { huge_tlb: false })
        .map_err(|error| anyhow!("no packet memory: {error:?}"))?;
    let (umem, mut completion, mut fill) = Umem::new(area, RING, RING)?;
    let options = SocketOptions { copy_mode: true, ..SocketOptions::default() };
    let (_socket, mut rx, mut tx) = Socket::new(umem.clone(), LINK, 0, RING, RING, options)?;
    let mut missing = RING as usize;
    let mut batch: ArrayDeque<[_; afxdp::PENDING_LEN], Wrapping> = ArrayDeque::new();
    println!("ready");
    loop {
        completion.service(&mut free, BATCH)?;
        let received = rx.try_recv(&mut batch, BATCH, ()).map_err(|error| anyhow!("cannot receive: {error:?}"))?;
        for buffer in batch.iter_mut().rev().take(received) {
            exchange(buffer.get_data_mut());
        }
        if received == 0 && fill.needs_wakeup() {
            rx.wake();
        }
        missing += received;
        tx.try_send(&mut batch, BATCH).map_err(|error| anyhow!("cannot send: {error:?}"))?;
        missing -= fill.fill(&mut free, missing)?;
    }
}
