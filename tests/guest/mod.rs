//! An edge node in a guest: a recent kernel in qemu, by software emulation, with a virtio-net device that shares packet
//! memory with AF_XDP sockets.

pub mod echo;
mod image;
mod pings;

use std::fs;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;

pub use self::image::version;
pub use self::pings::Pings;
use crate::booted::Console;
use crate::netns::{EDGE_V4, EDGE_V6, Metrics, Namespace, SOON, wait_until};

const CONFIG: &str = "/etc/pointsman.toml";
/// What the daemon says goes where the kernel speaks, too.
const LOG: &str = "/dev/ttyS0";

/// What the device has to be told, so that a frame comes whole and with its checksums: an XDP program cannot run on it
/// otherwise.
const PLAIN: &str = "guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,csum=off";

/// What the guest is made of.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    /// Cores, as many as the kernel uses queues to begin with.
    pub cores: u32,
    /// The most queues of the network device.
    pub queues: u32,
    /// Whether the device takes the guest's addresses for memory by the DMA interface, without which virtio-net copies.
    pub dma: bool,
}

impl Hardware {
    /// Two cores, two queues, no copying.
    pub const USUAL: Self = Self { cores: 2, queues: 2, dma: true };
}

/// How often a guest is booted that does not come up: an emulated machine whose timers come late, as on a busy one, now and
/// then gets stuck before there is anything to test.
const MOST_BOOTS: u32 = 3;

/// A guest in the place of a topology's edge node. It is off when dropped.
pub struct Guest {
    console: Console,
    directory: TempDir,
}

impl Guest {
    /// Boots, with the edge node's addresses on `eth0`, on the bridge of a fabric.
    pub fn boot(fabric: &Namespace, hardware: Hardware) -> Self {
        Self::boot_with(fabric, hardware, &image::program())
    }

    /// The same with another program than the usual one.
    pub fn boot_with(fabric: &Namespace, hardware: Hardware, program: &Path) -> Self {
        let queues = hardware.queues;
        let several: &[&str] = if queues > 1 { &["multi_queue"] } else { &[] };
        fabric.run(&[&["ip", "tuntap", "add", "tap0", "mode", "tap"], several].concat());
        fabric.run(&["ip", "link", "set", "tap0", "master", "br0", "up"]);
        let directory = tempfile::tempdir().expect("a temporary directory can be made");
        let (image, log) = (image::build(directory.path(), program), directory.path().join("log"));
        let boot = |_| {
            let console = Console::try_boot("the guest", qemu(fabric, hardware, &image, &log));
            let kernel = || fs::read_to_string(&log).unwrap_or_default();
            console.inspect_err(|said| println!("the guest did not boot:\n{said}\nits kernel:\n{}", kernel())).ok()
        };
        let console = (0..MOST_BOOTS).find_map(boot).expect("the guest boots");
        let mut guest = Self { console, directory };
        guest.run(&format!("ip address add {EDGE_V4}/24 dev eth0"));
        guest.run(&format!("ip address add {EDGE_V6}/64 dev eth0 nodad"));
        guest
    }

    /// Runs a line of shell in there and answers what it printed; panics where it fails.
    pub fn run(&mut self, line: &str) -> String {
        self.console.run(line)
    }

    /// Writes a file in there.
    pub fn write(&mut self, path: &str, text: &str) {
        for (number, line) in text.lines().enumerate() {
            let line = line.replace('\'', r"'\''");
            self.run(&format!("echo '{line}' {} {path}", if number == 0 { ">" } else { ">>" }));
        }
    }

    /// Has the daemon hand over to its own program. Where the emulation is too slow for that (a successor has a second to take
    /// a worker over) the answer is false, and the daemon goes on.
    pub fn upgrade(&mut self) -> bool {
        let (said, code) = self.console.try_run("pointsman upgrade 2>&1");
        assert!(code == 0 || said.contains("said nothing for"), "{said}{}", self.log());
        code == 0
    }

    /// Starts the daemon in native mode with further keys in the section `[interface]`, and waits until it is ready.
    pub fn start(&mut self, interface: &str) {
        let config = format!(
            "[node]\nname = \"edge\"\n[interface]\nname = \"eth0\"\ndriver = \"af_xdp\"\nxdp_mode = \"native\"\n{interface}\n\
             [underlay]\nsource_v4 = \"{EDGE_V4}\"\nsource_v6 = \"{EDGE_V6}\"\n[control]\ngroup = \"root\"\n\
             [handover]\ntracked_flows = 4096\n"
        );
        self.write(CONFIG, &config);
        self.start_again();
    }

    /// Starts it with the config as it is.
    pub fn start_again(&mut self) {
        self.run(&format!("(pointsman run --config {CONFIG} >{LOG} 2>&1 &)"));
        let ready = wait_until(4 * SOON, || self.console.try_run("pointsman status --json >/dev/null 2>&1").1 == 0);
        assert!(ready, "pointsman does not get ready:\n{}", self.log());
    }

    /// Runs the daemon with these keys, which must end it with an error, and answers its words.
    pub fn run_in_vain(&mut self, interface: &str) -> String {
        let config = format!("[interface]\nname = \"eth0\"\n{interface}\n[control]\ngroup = \"root\"\n");
        self.write(CONFIG, &config);
        let (said, code) = self.console.try_run(&format!("timeout 30 pointsman run --config {CONFIG} 2>&1"));
        assert_eq!(code, 1, "{said}");
        said
    }

    /// Applies an endpoint set, and waits until every endpoint can be reached.
    pub fn apply(&mut self, services: &Value) {
        let set = serde_json::json!({ "revision": "test", "services": services });
        self.write("/run/set.json", &set.to_string());
        self.run("pointsman apply --set /run/set.json");
        let reached = wait_until(2 * SOON, || {
            let status = self.json("status");
            let services = status["services"].as_array().expect("status lists the services").clone();
            services.iter().all(|service| service["unreachable"] == serde_json::json!({}))
        });
        assert!(reached, "no way to some endpoint:\n{}", self.log());
    }

    /// What `status` or `stats` says in JSON.
    pub fn json(&mut self, command: &str) -> Value {
        let said = self.run(&format!("pointsman {command} --json"));
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{command} --json is not JSON ({error}): {said}"))
    }

    /// A look at its counters.
    pub fn metrics(&mut self) -> Metrics {
        Metrics::new(self.json("stats"))
    }

    /// Of each worker, whether it shares packet memory with the device.
    pub fn zero_copy(&mut self) -> Vec<bool> {
        let status = self.json("status");
        let workers = status["workers"].as_array().expect("status lists the workers");
        workers.iter().map(|worker| worker["zero_copy"].as_bool().expect("it says")).collect()
    }

    /// Sends a signal to the daemon.
    pub fn signal(&mut self, signal: &str) {
        self.run(&format!("kill -{signal} $(pidof pointsman)"));
    }

    /// Sends a signal that ends the daemon, and waits until it has ended.
    pub fn end(&mut self, signal: &str) {
        self.signal(signal);
        let ended = wait_until(2 * SOON, || self.console.try_run("pidof pointsman >/dev/null").1 != 0);
        assert!(ended, "the daemon does not end:\n{}", self.log());
    }

    /// All that the kernel and the daemon have said.
    pub fn log(&self) -> String {
        let log = fs::read(self.directory.path().join("log")).unwrap_or_default();
        String::from_utf8_lossy(&log).replace('\r', "")
    }

    /// For how long the kernel has run.
    pub fn uptime(&mut self) -> Duration {
        let said = self.run("cat /proc/uptime");
        let seconds = said.split_whitespace().next().and_then(|seconds| seconds.parse().ok());
        Duration::from_secs_f64(seconds.expect("a number"))
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- the guest\n{}---", self.log());
        }
    }
}

/// The guest's machine, whose kernel speaks to the file `log`, and whose shell to its standard output.
fn qemu(fabric: &Namespace, hardware: Hardware, image: &Path, log: &Path) -> Command {
    let Hardware { cores, queues, dma } = hardware;
    let mut qemu = fabric.command(&["qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max"]);
    qemu.args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "512"]);
    // An emulated timer that comes late, as on a busy machine, is no broken one.
    qemu.args(["-smp", &cores.to_string(), "-append", "console=ttyS0 panic=-1 no_timer_check"]);
    qemu.arg("-kernel").arg(image::kernel()).arg("-initrd").arg(image);
    qemu.arg("-serial").arg(format!("file:{}", log.display()));
    qemu.args(["-serial", "stdio"]);
    qemu.arg("-netdev").arg(format!("tap,id=net,ifname=tap0,script=no,downscript=no,vhost=off,queues={queues}"));
    let (vectors, platform) = (2 * queues + 2, if dma { "on" } else { "off" });
    qemu.arg("-device").arg(format!(
        "virtio-net-pci,netdev=net,mac=02:00:00:00:00:e1,mq=on,vectors={vectors},disable-legacy=on,iommu_platform={platform},{PLAIN}"
    ));
    qemu
}
