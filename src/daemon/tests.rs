//! The whole daemon on queues that fail as no real one does on demand. Needs root: a network namespace, a bpffs.

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::thread::{UnshareFlags, unshare_unsafe};

use super::driver::{DriverError, Opened, QueueIo};
use super::keeper::Opener;
use super::{DaemonError, run_by};
use crate::config::{self, Config};
use crate::io::layer::{Layer, Layered};
use crate::io::memory::Memory;
use crate::io::{Held, PacketIo};
use crate::steer::{Gate, Guard};
use crate::underlay::Link;
use crate::underlay::announce::VipRoutes;

mod unstarted;

/// Nothing here takes longer on a machine that is busy.
const LIMIT: Duration = Duration::from_secs(30);

/// Fails as the test wishes.
pub struct Fault {
    receive: fn() -> io::Result<()>,
    share: fn() -> io::Result<()>,
}

impl Fault {
    /// Whether the queue can be shared with another process.
    pub fn share(&self) -> io::Result<()> {
        (self.share)()
    }
}

/// A queue in memory, by which no packet ever comes.
pub type Queue = Layered<Fault, Memory>;

impl Layer<Memory> for Fault {
    fn receive(&mut self, memory: &mut Memory, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        (self.receive)()?;
        memory.receive(into, most)
    }
}

/// The interface with its guard, and two such queues.
fn open(config: &Config, fault: fn() -> io::Result<()>) -> Result<Opened, DriverError> {
    let guard = Guard::open(&config.interface.name, &config.interface.pin)?;
    let queue = |number| {
        (
            number,
            QueueIo::Test(Box::new(Layered {
                layer: Fault { receive: fault, share: || Ok(()) },
                below: Memory::new(8, 8).by_the_clock(),
            })),
        )
    };
    let queues = (0..2).map(queue).collect();
    Ok(Opened { driver: "test", mode: None, gate: Gate::Tc(guard), queues, shape: None })
}

static PANIC: AtomicBool = AtomicBool::new(false);

#[test]
fn a_worker_that_panics_ends_the_daemon_and_its_announcements() {
    let opener: Opener = |config, _: &Link, _| {
        open(config, || {
            assert!(
                !PANIC.load(Ordering::Relaxed) || thread::current().name() == Some("worker-0"),
                "as the test wishes"
            );
            Ok(())
        })
    };
    with_daemon(opener, |daemon| {
        assert!(wait_until(|| announced() == ["203.0.113.10/32"]), "it announces its VIP");
        PANIC.store(true, Ordering::Relaxed);
        let said = how_it_fails(daemon);
        assert!(said.contains("worker 1 has panicked"), "{said}");
        assert_eq!(announced(), [""; 0], "nobody is drawn here any more");
        let filters = Command::new("tc").args(["filter", "show", "dev", "eth0", "ingress"]).output().expect("tc runs");
        let filters = String::from_utf8_lossy(&filters.stdout).into_owned();
        assert!(filters.contains("pointsman_guard"), "the kernel does not answer for the VIP meanwhile: {filters}");
    });
}

#[test]
fn a_queue_that_is_lost_for_good_ends_the_daemon() {
    let opener: Opener = |config, _: &Link, _| open(config, || Err(io::Error::from_raw_os_error(libc::EIO)));
    with_daemon(opener, |daemon| {
        let said = how_it_fails(daemon);
        assert!(said.contains("has lost its queue"), "{said}");
        assert_eq!(announced(), [""; 0], "nobody is drawn here any more");
    });
}

/// What a daemon says that does not end well.
fn how_it_fails(daemon: Daemon) -> String {
    assert!(wait_until(|| daemon.is_finished()), "it ends");
    let end = daemon.join().expect("the control thread does not panic");
    end.expect_err("it does not end well").to_string()
}

fn announced() -> Vec<String> {
    let routes = VipRoutes::open().and_then(|mut routes| routes.list()).expect("routes can be listed");
    routes.iter().map(ToString::to_string).collect()
}

fn wait_until(condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + LIMIT;
    while Instant::now() < end {
        if condition() {
            return true;
        }
        thread::sleep(Duration::from_millis(10));
    }
    false
}

type Daemon = thread::JoinHandle<Result<(), DaemonError>>;

/// Starts the daemon in a network namespace with one interface, and has `test` look at it from there.
fn with_daemon(opener: Opener, test: impl FnOnce(Daemon) + Send + 'static) {
    if !rustix::process::geteuid().is_root() {
        assert_ne!(
            std::env::var("CI").as_deref(),
            Ok("true"),
            "with CI=true this test may not be skipped: run it as root"
        );
        eprintln!("skipped: network namespaces need root");
        return;
    }
    let run = thread::spawn(move || {
        #[allow(unsafe_code, reason = "threads share descriptors")]
        // SAFETY: only the namespace of this new thread changes, and no descriptor.
        unsafe { unshare_unsafe(UnshareFlags::NEWNET) }.expect("root may");
        for words in ["link add eth0 type veth peer other", "link set eth0 up", "address add 192.0.2.1/24 dev eth0"] {
            run("ip", words);
        }
        let directory = tempfile::tempdir().expect("a directory");
        let bpffs = Bpffs::mount(directory.path());
        let config = config(directory.path(), &bpffs.0);
        test(thread::spawn(move || run_by(config, PathBuf::from("pointsman.toml"), opener)));
    });
    if let Err(panic) = run.join() {
        std::panic::resume_unwind(panic);
    }
}

fn config(directory: &Path, bpffs: &Path) -> Config {
    let (directory, bpffs) = (directory.display(), bpffs.display());
    let text = format!(
        "[node]\nstate_dir = \"{directory}/state\"\n[interface]\nname = \"eth0\"\npin = \"{bpffs}/pins\"\n\
         [control]\nsocket = \"{directory}/control.sock\"\ngroup = \"root\"\n[announce]\nroutes = true\n\
         [[service]]\nname = \"web\"\nvip = \"203.0.113.10\"\nendpoints = [{{ name = \"a\", address = \"192.0.2.7\" }}]\n"
    );
    config::parse(&text).expect("valid")
}

fn run(command: &str, words: &str) {
    let status = Command::new(command).args(words.split(' ')).status().expect("it runs");
    assert!(status.success(), "{command} {words}");
}

/// A bpffs, unmounted when dropped.
struct Bpffs(PathBuf);

impl Bpffs {
    fn mount(directory: &Path) -> Self {
        let path = directory.join("bpf");
        std::fs::create_dir(&path).expect("the directory is the test's own");
        run("mount", &format!("-t bpf bpf {}", path.display()));
        Self(path)
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}
