//! The machine that a guest's kernel runs on: qemu, by the processor where that can be had, else by emulation.

use std::fs::OpenOptions;
use std::path::Path;
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use super::Kernel;
use crate::{Process, wait_until};

/// How long a kernel may take to panic for want of a root file system, where the processor runs it.
const PROBE: Duration = Duration::from_secs(5);

/// What the network device has to be told, so that a frame comes whole and with its checksums: an XDP program cannot run on it
/// otherwise.
const PLAIN: &str = "guest_csum=off,guest_tso4=off,guest_tso6=off,guest_ecn=off,guest_ufo=off,csum=off";

/// What the machine is made of.
#[derive(Clone, Copy, Debug)]
pub struct Hardware {
    /// Cores, as many as the kernel uses queues to begin with.
    pub cores: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The most queues of the network device; none: there is no device.
    pub queues: u32,
    /// Whether the device takes the guest's addresses for memory by the DMA interface, without which virtio-net copies.
    pub dma: bool,
}

impl Hardware {
    /// Two cores, two queues, no copying.
    pub const USUAL: Self = Self { cores: 2, memory: 512, queues: 2, dma: true };
}

/// Flags of qemu that choose what runs the guest's instructions. KVM counts as there only where it boots a kernel: on a machine
/// that is a guest itself it may be there and hang.
fn accelerator(kernel: &Kernel) -> [&'static str; 4] {
    const KVM: [&str; 4] = ["-accel", "kvm", "-cpu", "host"];
    const EMULATION: [&str; 4] = ["-accel", "tcg,thread=multi", "-cpu", "max"];
    static CHOSEN: OnceLock<[&str; 4]> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        let may = OpenOptions::new().read(true).write(true).open("/dev/kvm").is_ok();
        if may && boots(kernel, KVM) { KVM } else { EMULATION }
    })
}

/// Whether the kernel comes so far as to look for a root file system, of which there is none: it panics, and qemu ends.
fn boots(kernel: &Kernel, accelerator: [&str; 4]) -> bool {
    let mut qemu = Command::new("qemu-system-x86_64");
    qemu.args(accelerator).args(["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", "256"]);
    qemu.args(["-append", "console=ttyS0 panic=-1", "-serial", "stdio"]).arg("-kernel").arg(kernel.image());
    let process = Process::start(qemu);
    wait_until(PROBE, || process.ended().is_some());
    process.log().contains("Unable to mount root")
}

/// qemu with a kernel that speaks to the file `log`, and with a shell on its standard input and output. `network` has the link
/// `tap0` that the device is plugged into.
pub fn qemu(kernel: &Kernel, hardware: Hardware, image: &Path, log: &Path) -> Vec<String> {
    let Hardware { cores, memory, queues, dma } = hardware;
    let mut words: Vec<String> = vec!["qemu-system-x86_64".to_owned()];
    let mut add = |more: &[&str]| words.extend(more.iter().map(|word| (*word).to_owned()));
    add(&accelerator(kernel));
    add(&["-nodefaults", "-no-user-config", "-no-reboot", "-display", "none", "-m", &memory.to_string()]);
    // An emulated timer that comes late, as on a busy machine, is no broken one.
    add(&["-smp", &cores.to_string(), "-append", "console=ttyS0 panic=-1 no_timer_check"]);
    add(&["-kernel", &kernel.image().display().to_string(), "-initrd", &image.display().to_string()]);
    add(&["-serial", &format!("file:{}", log.display()), "-serial", "stdio"]);
    if queues > 0 {
        let (vectors, platform) = (2 * queues + 2, if dma { "on" } else { "off" });
        add(&["-netdev", &format!("tap,id=net,ifname=tap0,script=no,downscript=no,vhost=off,queues={queues}")]);
        add(&[
            "-device",
            &format!(
                "virtio-net-pci,netdev=net,mac=02:00:00:00:00:e1,mq=on,vectors={vectors},disable-legacy=on,\
                 iommu_platform={platform},{PLAIN}"
            ),
        ]);
    }
    words
}
