//! The cores that the kernel's workqueues may use.

use std::fs;
use std::process::{Child, Command, Stdio};

/// The kernel's own file of them: hexadecimal, a bit a core, in groups of 32.
const MASK: &str = "/sys/devices/virtual/workqueue/cpumask";
/// Writes back what was there when its standard input ends, as it does however this program ends.
const RESTORE: &str = "trap '' INT TERM HUP; before=$(cat \"$0\"); echo ready; read line; echo \"$before\" > \"$0\"";

/// Those that are bound to no core do nothing on one core as long as this lives.
pub struct KeptAway {
    restorer: Child,
}

impl KeptAway {
    /// Where there is another core.
    pub fn from(core: usize) -> Self {
        let before = fs::read_to_string(MASK).expect("the kernel has workqueues");
        let others = without(before.trim(), core).expect("they may use another core");
        let mut command = Command::new("sh");
        let mut restorer =
            command.args(["-c", RESTORE, MASK]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("a shell");
        // Not before it has seen what there is.
        let ready = restorer.stdout.as_mut().and_then(|from| std::io::Read::read(from, &mut [0; 8]).ok());
        assert!(ready.is_some_and(|length| length > 0), "the shell reads {MASK}");
        let kept_away = Self { restorer };
        fs::write(MASK, others).expect("root may");
        kept_away
    }
}

impl Drop for KeptAway {
    fn drop(&mut self) {
        drop(self.restorer.stdin.take());
        _ = self.restorer.wait();
    }
}

/// A mask without one of its cores; none where nothing would be left, or where it is no mask.
fn without(mask: &str, core: usize) -> Option<String> {
    let mut groups: Vec<u32> =
        mask.split(',').map(|group| u32::from_str_radix(group, 16).ok()).collect::<Option<_>>()?;
    if let Some(group) = groups.iter_mut().rev().nth(core / 32) {
        *group &= !(1 << (core % 32));
    }
    let written: Vec<String> = groups.iter().map(|group| format!("{group:08x}")).collect();
    groups.iter().any(|group| *group != 0).then(|| written.join(","))
}
