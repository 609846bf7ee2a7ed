//! How long sets and patches take from the socket to their acknowledgement, what the daemon's memory comes to, and what
//! workers notice. The real daemon in a network namespace, with AF_XDP; needs root. `bench/README.md` says how to read it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use testkit::{Driver, Edge, Namespace};

use testkit::measure::targets::Targets;
use testkit::updates::syncer::{Syncer, service, vip};
use testkit::updates::{self};

/// How long sets and patches take from the control socket to their acknowledgement (needs root). The targets are for as many
/// services as by default
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
/// The most milliseconds from a first set's last byte until it is in force, and until a patch of one service is acknowledged.
const MOST_FOR_SET: f64 = 2_000.0;
const MOST_FOR_PATCH: f64 = 20.0;
/// The most bytes of memory meanwhile.
const MOST_MEMORY: u64 = 200_000_000;
/// Updates are to make no poll gap longer: what p99.9 may be, to what it was before, to be the same as far as can be told.
const MOST_GAP: f64 = 1.2;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    if testkit::skipped() {
        return ExitCode::SUCCESS;
    }
    let topology = updates::topology();
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    updates::leave_its_core_to_the_worker(&edge);
    updates::make_worker_urgent(&edge);
    let (stop, mut targets) = (AtomicBool::new(false), Targets::default());
    thread::scope(|scope| {
        let _stops = Stops(&stop);
        scope.spawn(|| send(&topology.client, &stop));
        update(&edge, &arguments, &mut targets);
    });
    edge.upgrade();
    println!("after an upgrade in the midst of that handover:");
    Memory::of(&edge).print("");
    targets.exit_code()
}

/// Everything that is applied, and what is noticed of it.
fn update(edge: &Edge<'_>, arguments: &Arguments, targets: &mut Targets) {
    let syncer = Syncer::connect(&edge.socket());
    let all = |version| (0..arguments.services).map(|number| service(number, version)).collect::<Vec<_>>();
    syncer.apply("first", &all(0)[..1]);
    eprintln!("quiet for {QUIET:?}");
    thread::sleep(QUIET);
    let before = Gap::of(edge);
    before.print("before anything is applied", "");
    let most_gap = before.usual * MOST_GAP;
    let judge_gap = |when, targets: &mut Targets| {
        let gap = Gap::so_far(edge);
        gap.print(when, &format!("target {most_gap:.3} ms at p99.9{}", targets.check(gap.usual <= most_gap)));
    };

    let first = syncer.apply("0", &all(0));
    print("one set, all services new", &mut [first.in_all], "");
    let missed = targets.check(first.behind_last_byte <= MOST_FOR_SET);
    print("from its last byte", &mut [first.behind_last_byte], &format!("target {MOST_FOR_SET} ms{missed}"));
    judge_gap("with one set", targets);
    print("the same set again", &mut [(); 2].map(|()| syncer.apply("0", &all(0)).in_all), "");
    let patch =
        |n: u32| syncer.patch(&n.to_string(), &(n + 1).to_string(), &service(n * 97 % arguments.services, n + 1));
    let mut patches: Vec<f64> = (0..arguments.patches).map(|n| patch(n).in_all).collect();
    let missed = targets.check(patches.iter().all(|patch| *patch <= MOST_FOR_PATCH));
    print("a patch of one service", &mut patches, &format!("target {MOST_FOR_PATCH} ms{missed}"));
    judge_gap("with patches", targets);
    let memory = Memory::of(edge);
    memory.print(&format!("target {} MB{}", MOST_MEMORY / 1_000_000, targets.check(memory.most <= MOST_MEMORY)));

    print("one set, all services changed", &mut [syncer.apply("changed", &all(1_000)).in_all], "");
    Memory::of(edge).print("");
    judge_gap("with all this", targets);
}

/// Has the sender stop when it is dropped, so that nobody waits for it in vain where something fails.
struct Stops<'a>(&'a AtomicBool);

impl Drop for Stops<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
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

fn print(what: &str, milliseconds: &mut [f64], target: &str) {
    milliseconds.sort_by(f64::total_cmp);
    let Some(longest) = milliseconds.last() else { return };
    let (middle, count) = (milliseconds[milliseconds.len() / 2], milliseconds.len());
    print_line(what, &format!("{middle:>9.1} ms, {longest:>9.1} ms at most, of {count}"), target);
}

fn print_line(what: &str, figures: &str, target: &str) {
    let line = format!("{what:<36} {figures:<40} {target}");
    println!("{}", line.trim_end());
}

/// What is resident of the daemon, in bytes.
struct Memory {
    now: u64,
    most: u64,
}

impl Memory {
    fn of(edge: &Edge<'_>) -> Self {
        let status = std::fs::read_to_string(format!("/proc/{}/status", edge.pid())).expect("it runs");
        let of = |key: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("the kernel says so");
            line.trim_matches([':', ' ', '\t', 'k', 'B']).parse::<u64>().expect("a number") * 1024
        };
        Self { now: of("VmRSS"), most: of("VmHWM") }
    }

    /// In millions of bytes, as the target.
    fn print(&self, target: &str) {
        let [now, most] = [self.now, self.most].map(|bytes| bytes as f64 / 1e6);
        print_line("resident memory", &format!("{now:>9.1} MB, {most:>9.1} MB at most"), target);
    }
}

/// The pause between two polls of the worker, sleep aside, within the last minute, in milliseconds.
struct Gap {
    /// What 999 of 1,000 do not exceed.
    usual: f64,
    longest: f64,
}

impl Gap {
    fn of(edge: &Edge<'_>) -> Self {
        let gap = &edge.json("stats")["pointsman_poll_gap_seconds"]["0"];
        let of = |quantile: &str| gap[quantile].as_f64().expect("the worker has said so") * 1e3;
        Self { usual: of("0.999"), longest: of("1") }
    }

    /// The same when the worker's last words of this time have been read, about a second later.
    fn so_far(edge: &Edge<'_>) -> Self {
        thread::sleep(Duration::from_secs(2));
        Self::of(edge)
    }

    fn print(&self, when: &str, target: &str) {
        let figures = format!("{:>9.3} ms at p99.9, {:.2} ms at most", self.usual, self.longest);
        print_line(&format!("poll gap {when}"), &figures, target);
    }
}
