//! `scripts/install-missing` on a machine of files: apt, dpkg and systemd are played by small scripts, which keep the state of
//! packages in a directory.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;
use std::process::{Command, Output};

use tempfile::TempDir;

/// A machine where nothing is installed.
struct Machine(TempDir);

impl Machine {
    /// `during` is what happens in the shell of the played apt-get while it installs.
    fn new(during: &str) -> Self {
        let machine = Self(TempDir::new().expect("a temporary directory can be made"));
        for directory in ["bin", "packages", "usr/sbin", "tmp"] {
            fs::create_dir_all(machine.path(directory)).expect("a directory can be made there");
        }
        machine.play("id", "echo 0");
        machine.play("dpkg-query", "for name; do :; done; cat \"$INSTALL_ROOT/packages/$name\" 2>/dev/null");
        machine.play("systemctl", "echo \"$@\" >>\"$INSTALL_ROOT/disabled\"");
        machine.play("update-rc.d", "true");
        machine.set_apt(during);
        machine
    }

    fn set_apt(&self, during: &str) {
        let install = format!(
            "echo NOISE; [ \"$1\" = install ] || exit 0
            ls \"$INSTALL_ROOT/etc/systemd/system\" >\"$INSTALL_ROOT/masked-then\" 2>/dev/null
            \"$INSTALL_ROOT/usr/sbin/policy-rc.d\"; echo $? >\"$INSTALL_ROOT/policy-then\"
            {during}
            for name; do case \"$name\" in -* | install) ;; *) printf installed >\"$INSTALL_ROOT/packages/$name\" ;; esac; done"
        );
        self.play("apt-get", &install);
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn read(&self, path: &str) -> String {
        fs::read_to_string(self.path(path)).unwrap_or_default()
    }

    /// A program of this machine.
    fn play(&self, name: &str, script: &str) {
        let file = self.path("bin").join(name);
        fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a file can be made there");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("it was just made");
    }

    fn install(&self, packages: &[&str]) -> Output {
        let path = format!("{}:{}", self.path("bin").display(), std::env::var("PATH").expect("there is a PATH"));
        let mut command = Command::new("scripts/install-missing");
        command.args(packages).env("PATH", path).env("INSTALL_ROOT", self.0.path()).env("TMPDIR", self.path("tmp"));
        command.output().expect("the script can be run")
    }

    fn is_masked(&self, unit: &str) -> bool {
        self.path("etc/systemd/system").join(unit).is_symlink()
    }

    /// Nothing that a run makes for itself is left.
    fn assert_is_clean(&self) {
        assert!(!self.path("usr/sbin/policy-rc.d").exists(), "policy-rc.d would keep every service from starting");
        assert!(!self.path("var/lib/misc/pointsman-masked").exists());
        assert_eq!(self.path("tmp").read_dir().expect("it was made").count(), 0, "apt's words are kept");
    }
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&[&output.stdout[..], &output.stderr[..]].concat()).into_owned()
}

#[test]
fn one_line_says_what_is_installed_and_the_second_run_says_nothing() {
    let machine = Machine::new("");
    fs::write(machine.path("packages/curl"), "installed").expect("a file can be made there");
    let first = machine.install(&["clang", "curl", "bird2"]);
    assert!(first.status.success(), "{}", said(&first));
    let line = said(&first);
    assert_eq!(line.lines().count(), 1, "{line}");
    assert!(line.starts_with("installing with apt") && line.ends_with(": clang bird2\n"), "{line}");

    let second = machine.install(&["clang", "curl", "bird2"]);
    assert!(second.status.success());
    assert_eq!(said(&second), "");
    machine.assert_is_clean();
}

#[test]
fn what_apt_said_is_kept_where_it_fails() {
    let machine = Machine::new("echo no such package; exit 100");
    let output = machine.install(&["clang"]);
    assert_eq!(output.status.code(), Some(1));
    let words = said(&output);
    assert!(words.contains("apt failed") && words.contains("no such package"), "{words}");
    let file =
        machine.path("tmp").read_dir().expect("it was made").next().expect("apt's words are kept").expect("a file");
    assert!(words.contains(&file.path().display().to_string()), "{words}");
}

#[test]
fn no_service_starts_now_or_at_the_next_boot() {
    let machine = Machine::new("");
    assert!(machine.install(&["bird2", "keepalived", "prometheus", "man-db"]).status.success());
    let units = ["bird.service", "keepalived.service", "man-db.timer", "prometheus.service"];
    assert_eq!(machine.read("masked-then").lines().collect::<Vec<_>>(), units);
    assert_eq!(machine.read("policy-then"), "101\n");
    for unit in units {
        assert!(!machine.is_masked(unit), "{unit} could not be used by whoever wants it");
        assert!(machine.read("disabled").contains(&format!("disable {unit}")), "{unit} would start at the next boot");
    }
    machine.assert_is_clean();
}

/// By a signal to the script, as Ctrl-C gives it, and by one that no script sees.
#[test]
fn an_interrupted_run_leaves_nothing_that_starts_and_the_next_one_ends_what_it_began() {
    for signal in ["INT", "TERM", "HUP", "KILL"] {
        let unpacked = "printf unpacked >\"$INSTALL_ROOT/packages/bird2\"; printf installed >\"$INSTALL_ROOT/packages/prometheus\"";
        let machine = Machine::new(&format!("{unpacked}; kill -{signal} $PPID; exit 1"));
        let output = machine.install(&["bird2", "keepalived", "prometheus"]);
        assert!(!output.status.success());
        assert!(machine.is_masked("bird.service"), "{signal}: bird starts when dpkg configures it");
        if signal != "KILL" {
            assert!(!machine.path("usr/sbin/policy-rc.d").exists(), "{signal}");
            assert!(!machine.is_masked("keepalived.service"), "{signal}: it is not installed");
            assert!(!machine.is_masked("prometheus.service"), "{signal}");
            assert!(machine.read("disabled").contains("disable prometheus.service"), "{signal}");
        }

        fs::remove_dir_all(machine.path("tmp")).expect("it was made");
        fs::create_dir(machine.path("tmp")).expect("there is room");
        machine.set_apt("");
        let next = machine.install(&["bird2", "keepalived", "prometheus"]);
        assert!(next.status.success(), "{signal}: {}", said(&next));
        for unit in ["bird.service", "keepalived.service", "prometheus.service"] {
            assert!(!machine.is_masked(unit), "{signal}: {unit}");
            assert!(machine.read("disabled").contains(&format!("disable {unit}")), "{signal}: {unit}");
        }
        machine.assert_is_clean();
    }
}

#[test]
fn what_the_operator_has_masked_stays_masked_and_their_policy_stays() {
    let machine = Machine::new("");
    fs::create_dir_all(machine.path("etc/systemd/system")).expect("there is room");
    symlink("/dev/null", machine.path("etc/systemd/system/bird.service")).expect("a link can be made there");
    machine.play("../usr/sbin/policy-rc.d", "exit 101");
    assert!(machine.install(&["bird2"]).status.success());
    assert!(machine.is_masked("bird.service"));
    assert!(machine.path("usr/sbin/policy-rc.d").exists());
}
