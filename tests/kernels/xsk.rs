//! AF_XDP sockets against a real kernel: a veth pair in a network namespace of the test's own thread. Needs root.
#![allow(unsafe_code)] // To leave the network namespace of the other threads.

use std::io::ErrorKind;
use std::os::fd::{AsFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use aya::Ebpf;
use aya::maps::{MapData, XskMap};
use aya::programs::{Xdp, xdp::XdpMode};
use pnet::datalink::{self, Channel, DataLinkReceiver, DataLinkSender};
use pointsman::config::ZeroCopy;
use pointsman::io::xsk::{XskError, XskIo, XskOptions};
use pointsman::io::{KernelStatistics, PacketIo};
use rustix::event::{EventfdFlags, eventfd};
use rustix::thread::{UnshareFlags, unshare_unsafe};

/// No condition takes the kernel longer than this.
const LIMIT: Duration = Duration::from_secs(20);
const FRAMES: u32 = 256;
/// Frames that the peer sends, and how many of them may be under way: as many as its receive buffer takes.
const COUNT: u32 = 1000;
const WINDOW: u32 = 40;
/// As long as an outer IPv6 and GRE header.
const HEADER: [u8; 44] = [0x5a; 44];
/// For local experiments (IEEE 802).
const ETHERTYPE: [u8; 2] = [0x88, 0xb5];

const PROGRAM: &str = r#"
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
struct {
    __uint(type, BPF_MAP_TYPE_XSKMAP);
    __uint(max_entries, 1);
    __type(key, __u32);
    __type(value, __u32);
} sockets SEC(".maps");

SEC("xdp") int to_socket(struct xdp_md *packet) {
    return bpf_redirect_map(&sockets, packet->rx_queue_index, XDP_PASS);
}
"#;

/// Runs a test in a network namespace of its own, which goes with its thread, and a veth pair `node` - `peer`, which
/// goes with the namespace.
fn in_namespace(mtu: u32, test: impl FnOnce() + Send + 'static) {
    if testkit::skipped() {
        return;
    }
    let run = thread::spawn(move || {
        // SAFETY: only the namespace of this new thread changes, and no descriptor.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may");
        ip("link add node type veth peer name peer");
        for end in ["node", "peer"] {
            std::fs::write(format!("/proc/sys/net/ipv6/conf/{end}/disable_ipv6"), "1").expect("to keep it quiet");
            ip(&format!("link set {end} mtu {mtu} arp off up"));
        }
        test();
    });
    if let Err(panic) = run.join() {
        std::panic::resume_unwind(panic);
    }
}

fn ip(arguments: &str) {
    let status = Command::new("ip").args(arguments.split_whitespace()).status().expect("ip runs");
    assert!(status.success(), "ip {arguments}");
}

/// The program that redirects all that `node` receives; it goes with this value.
fn attach(mode: XdpMode) -> (Ebpf, XskMap<MapData>) {
    let directory = tempfile::tempdir().expect("a directory");
    let (source, object) = (directory.path().join("to_socket.c"), directory.path().join("to_socket.o"));
    std::fs::write(&source, PROGRAM).expect("to write it");
    let include = format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH);
    let status = Command::new("clang")
        .args(["-O2", "-g", "-target", "bpf", "-mcpu=v3", &include, "-c"])
        .arg(&source)
        .arg("-o")
        .arg(&object)
        .status();
    assert!(status.expect("clang runs").success(), "it compiles");
    let mut program = Ebpf::load_file(&object).expect("the kernel takes it");
    let sockets = XskMap::try_from(program.take_map("sockets").expect("it has one")).expect("an XSKMAP");
    let entry: &mut Xdp = program.program_mut("to_socket").expect("it has one").try_into().expect("an XDP program");
    entry.load().expect("the verifier takes it");
    entry.attach("node", mode).expect("the driver takes it");
    (program, sockets)
}

fn options(mtu: u32, zero_copy: ZeroCopy) -> XskOptions {
    let interface_index = datalink::interfaces().into_iter().find(|link| link.name == "node").expect("made").index;
    XskOptions { interface_index, queue: 0, frames: FRAMES, mtu, zero_copy, patience: LIMIT }
}

fn wake() -> OwnedFd {
    eventfd(0, EventfdFlags::CLOEXEC).expect("one more descriptor")
}

/// A frame from the peer, whose length and bytes follow from its number.
fn frame(number: u32, mtu: u32) -> Vec<u8> {
    let longest = mtu as usize + 14 - HEADER.len();
    let len = 60 + number as usize * 37 % (longest - 59);
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
    frame.extend(ETHERTYPE);
    frame.extend(number.to_be_bytes());
    frame.extend((frame.len()..len).map(|at| (at as u32).wrapping_mul(number + 1) as u8));
    frame
}

/// A worker that puts a header in front of every frame and sends it back, until it is told to stop.
fn reflect(mut io: XskIo, stop: &AtomicBool) -> XskIo {
    let (wake, mut batch) = (wake(), Vec::new());
    while !stop.load(Ordering::Relaxed) {
        io.receive(&mut batch, 64).expect("to receive");
        if batch.is_empty() {
            io.wait(wake.as_fd(), Duration::from_millis(20)).expect("to wait");
        }
        for held in batch.drain(..) {
            let mut frame = io.frame(&held);
            if frame.bytes()[12..14] != ETHERTYPE {
                io.release(held);
                continue;
            }
            assert!(frame.replace_front(0, &HEADER), "there is headroom");
            let span = frame.span();
            io.send(held.moved_to(span));
        }
        io.flush().expect("to flush");
    }
    io
}

/// The other end of the cable.
struct Peer {
    sender: Box<dyn DataLinkSender>,
    receiver: Box<dyn DataLinkReceiver>,
    start: Instant,
}

impl Peer {
    fn open() -> Self {
        let peer = datalink::interfaces().into_iter().find(|link| link.name == "peer").expect("made");
        let config = datalink::Config { read_timeout: Some(Duration::from_millis(100)), ..Default::default() };
        let Ok(Channel::Ethernet(sender, receiver)) = datalink::channel(&peer, config) else {
            panic!("no packet socket on the peer");
        };
        Self { sender, receiver, start: Instant::now() }
    }

    fn send(&mut self, frame: &[u8]) {
        self.sender.send_to(frame, None).expect("one packet").expect("to send");
    }

    /// The next frame that begins with the header, without it.
    fn receive(&mut self) -> Vec<u8> {
        loop {
            assert!(self.start.elapsed() < LIMIT, "not within {LIMIT:?}");
            match self.receiver.next() {
                Ok(bytes) if bytes.starts_with(&HEADER) => return bytes[HEADER.len()..].to_vec(),
                Ok(_) => {}
                Err(error) => assert_eq!(error.kind(), ErrorKind::TimedOut, "{error}"),
            }
        }
    }
}

/// All frames of the peer come back with a header in front; none is lost, neither on the way nor from the memory.
fn all_come_back(mode: XdpMode, mtu: u32) {
    in_namespace(mtu, move || {
        let (_program, mut sockets) = attach(mode);
        let io = XskIo::open(&options(mtu, ZeroCopy::Auto)).expect("to open");
        assert!(!io.zero_copy(), "veth copies");
        sockets.set(0, io.as_fd(), 0).expect("to redirect");
        let stop = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let stop = stop.clone();
            move || reflect(io, &stop)
        });
        let mut peer = Peer::open();
        for first in (0..COUNT).step_by(WINDOW as usize) {
            (first..first + WINDOW).for_each(|number| peer.send(&frame(number, mtu)));
            for number in first..first + WINDOW {
                assert_eq!(peer.receive(), frame(number, mtu), "frame {number}");
            }
        }
        stop.store(true, Ordering::Relaxed);
        quiet(worker.join().expect("the worker does not panic"));
    });
}

/// Waits until the kernel has given all frames back, and checks that it has dropped nothing.
fn quiet(mut io: XskIo) {
    let start = Instant::now();
    while io.audit().fill + io.audit().free != FRAMES {
        assert!(start.elapsed() < LIMIT, "{:?}", io.audit());
        io.flush().expect("to flush");
        thread::yield_now();
    }
    assert_eq!(io.audit().total(), FRAMES);
    let statistics = KernelStatistics { tx_ring_empty: 0, ..io.statistics() };
    assert_eq!(statistics, KernelStatistics::default());
}

#[test]
fn all_come_back_in_native_mode() {
    all_come_back(XdpMode::Driver, 1500);
}

#[test]
fn all_come_back_in_generic_mode() {
    all_come_back(XdpMode::Skb, 1500);
}

#[test]
fn all_come_back_with_large_packets() {
    all_come_back(XdpMode::Driver, 3000);
}

/// A worker that has stopped sending receives no more than its TX ring takes, and what it left alone is still there.
#[test]
fn back_pressure_keeps_frames_in_the_rx_ring() {
    in_namespace(1500, || {
        let (_program, mut sockets) = attach(XdpMode::Driver);
        let mut io = XskIo::open(&options(1500, ZeroCopy::Off)).expect("to open");
        sockets.set(0, io.as_fd(), 0).expect("to redirect");
        let mut peer = Peer::open();
        (0..FRAMES).for_each(|number| peer.send(&frame(number, 1500)));
        let (wake, start, mut batch) = (wake(), Instant::now(), Vec::new());
        while batch.len() < FRAMES as usize / 2 {
            assert!(start.elapsed() < LIMIT, "{:?}", io.audit());
            io.wait(wake.as_fd(), Duration::from_millis(20)).expect("to wait");
            io.receive(&mut batch, usize::MAX).expect("to receive");
        }
        io.receive(&mut batch, usize::MAX).expect("to receive");
        assert_eq!(batch.len(), FRAMES as usize / 2, "{:?}", io.audit());
        batch.into_iter().for_each(|held| io.release(held));
        while io.audit().fill + io.audit().free != FRAMES {
            assert!(start.elapsed() < LIMIT, "{:?}", io.audit());
            let mut batch = Vec::new();
            io.receive(&mut batch, usize::MAX).expect("to receive");
            batch.into_iter().for_each(|held| io.release(held));
            io.flush().expect("to flush");
        }
    });
}

#[test]
fn says_what_to_mend() {
    in_namespace(1500, || {
        let refused = |change: fn(&mut XskOptions)| {
            let mut options = options(1500, ZeroCopy::Auto);
            change(&mut options);
            XskIo::open(&options).expect_err("refused")
        };
        assert!(matches!(refused(|options| options.frames = 100), XskError::Frames { frames: 100 }));
        assert!(matches!(refused(|options| options.mtu = 9000), XskError::Mtu { mtu: 9000 }));
        assert!(matches!(refused(|options| options.queue = 7), XskError::NoQueue { queue: 7 }));
        assert!(matches!(refused(|options| options.interface_index = 99_999), XskError::NoInterface { .. }));
        let (_program, _sockets) = attach(XdpMode::Driver);
        assert!(matches!(refused(|options| options.zero_copy = ZeroCopy::On), XskError::NoZeroCopy { queue: 0 }));
    });
}

#[test]
fn waits_for_a_queue_that_is_in_use() {
    in_namespace(1500, || {
        let (_program, _sockets) = attach(XdpMode::Driver);
        let options = options(1500, ZeroCopy::Auto);
        let first = XskIo::open(&options).expect("to open");
        assert!(matches!(XskIo::open(&options), Err(XskError::Busy { queue: 0 })));
        let second = thread::spawn(move || XskIo::open(&options));
        drop(first);
        second.join().expect("no panic").expect("to open once the first is gone");
    });
}

#[test]
fn tells_that_the_interface_is_gone() {
    in_namespace(1500, || {
        let (_program, _sockets) = attach(XdpMode::Driver);
        let mut io = XskIo::open(&options(1500, ZeroCopy::Auto)).expect("to open");
        ip("link delete node");
        let error = io.wait(wake().as_fd(), LIMIT).expect_err("gone");
        assert_eq!(error.raw_os_error(), Some(libc::ENODEV), "gone for good, not only down");
    });
}

/// What cannot be sent now is kept, not lost.
#[test]
fn tells_that_the_interface_is_down_and_goes_on_when_it_is_up() {
    in_namespace(1500, || {
        let (_program, mut sockets) = attach(XdpMode::Driver);
        let mut io = XskIo::open(&options(1500, ZeroCopy::Auto)).expect("to open");
        sockets.set(0, io.as_fd(), 0).expect("to redirect");
        Peer::open().send(&frame(0, 1500));
        let (wake, start, mut batch) = (wake(), Instant::now(), Vec::new());
        while batch.is_empty() {
            assert!(start.elapsed() < LIMIT, "{:?}", io.audit());
            io.wait(wake.as_fd(), Duration::from_millis(20)).expect("to wait");
            io.receive(&mut batch, 1).expect("to receive");
        }
        ip("link set node down");
        batch.into_iter().for_each(|held| io.send(held));
        assert_eq!(io.flush().expect_err("down").kind(), ErrorKind::NetworkDown);
        assert_eq!((io.audit().tx, io.audit().total()), (1, FRAMES));
        ip("link set node up");
        quiet(io);
    });
}
