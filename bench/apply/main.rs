//! How long sets and patches take from the socket to their acknowledgement, what the daemon's memory comes to, and what
//! workers notice. The real daemon in a network namespace, with AF_XDP; needs root. `bench/README.md` says how to read it.

#[path = "../../tests/netns/mod.rs"]
mod netns;
#[path = "../node/mod.rs"]
mod node;

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use netns::{Driver, Edge, Namespace};

use node::syncer::{Syncer, service, vip};

/// How long sets and patches take from the control socket to their acknowledgement (needs root)
#[derive(Debug, Parser)]
struct Arguments {
    /// Services, of ten endpoints each
    #[arg(long, default_value_t = 10_000)]
    services: u32,
    /// Patches of one service
    #[arg(long, default_value_t = 100)]
    patches: u32,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    bench: bool,
}

/// Packets a second that the worker has to forward meanwhile.
const PACKETS_A_SECOND: u32 = 5_000;
/// The worker is listened to for so long before anything is applied.
const QUIET: Duration = Duration::from_secs(10);

fn main() {
    let arguments = Arguments::parse();
    if netns::skipped() {
        return;
    }
    let topology = node::topology();
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    node::leave_its_core_to_the_worker(&edge);
    node::make_worker_urgent(&edge);
    let syncer = Syncer::connect(&edge.socket());
    let all = |version| (0..arguments.services).map(|number| service(number, version)).collect::<Vec<_>>();

    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| send(&topology.client, &stop));
        syncer.apply("first", &all(0)[..1]);
        eprintln!("quiet for {QUIET:?}");
        thread::sleep(QUIET);
        print_gap(&edge, "before anything is applied");
        print("one set, all services new", &mut [syncer.apply("0", &all(0))]);
        print_gap_so_far(&edge, "with one set");
        print("the same set again", &mut [syncer.apply("0", &all(0)), syncer.apply("0", &all(0))]);
        let mut patches: Vec<f64> = (0..arguments.patches)
            .map(|n| syncer.patch(&n.to_string(), &(n + 1).to_string(), &service(n * 97 % arguments.services, n + 1)))
            .collect();
        print("a patch of one service", &mut patches);
        print_gap_so_far(&edge, "with patches");
        print_memory(&edge);
        print("one set, all services changed", &mut [syncer.apply("changed", &all(1_000))]);
        print_memory(&edge);
        print_gap_so_far(&edge, "with all this");
        stop.store(true, Ordering::Relaxed);
    });
    edge.upgrade();
    println!("after an upgrade in the midst of that handover:");
    print_memory(&edge);
}

/// Sends datagrams of many flows to the first VIP at an even pace.
fn send(client: &Namespace, stop: &AtomicBool) {
    client.inside(|| {
        let sockets: Vec<UdpSocket> = (0..64).map(|_| UdpSocket::bind("0.0.0.0:0").expect("a port")).collect();
        let to = SocketAddr::from((vip(0).parse::<Ipv4Addr>().expect("an address"), 80));
        let start = Instant::now();
        for (sent, socket) in (0u32..).zip(sockets.iter().cycle()) {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            _ = socket.send_to(&[0; 100], to);
            let due = start + Duration::from_secs(1) * sent / PACKETS_A_SECOND;
            thread::sleep(due.saturating_duration_since(Instant::now()));
        }
    });
}

fn print(what: &str, milliseconds: &mut [f64]) {
    milliseconds.sort_by(f64::total_cmp);
    let (middle, longest) = (milliseconds[milliseconds.len() / 2], milliseconds[milliseconds.len() - 1]);
    println!("{what:<32} {middle:>9.1} ms, {longest:>9.1} ms at most, of {}", milliseconds.len());
}

fn print_memory(edge: &Edge<'_>) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", edge.pid())).expect("it runs");
    let of = |key: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(key)).unwrap_or_default();
        line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().unwrap_or_default() / 1024
    };
    println!("{:<32} {:>9} MiB, {} MiB at most", "resident memory", of("VmRSS"), of("VmHWM"));
}

/// The same, when the worker's last words of this time have been read, about a second later.
fn print_gap_so_far(edge: &Edge<'_>, when: &str) {
    thread::sleep(Duration::from_secs(2));
    print_gap(edge, when);
}

/// The longest pause between two polls of the worker, sleep aside, within the last minute.
fn print_gap(edge: &Edge<'_>, when: &str) {
    let gap = &edge.json("stats")["pointsman_poll_gap_seconds"]["0"];
    let of = |quantile: &str| gap[quantile].as_f64().unwrap_or_default() * 1e3;
    println!("poll gap {when:<28} {:>7.2} ms at p99.9, {:.2} ms at most", of("0.999"), of("1"));
}
