//! Workers have their cores; what else the daemon does leaves them alone where there are others. Needs root.

use std::collections::BTreeSet;
use std::fs;

use rustix::thread::{CpuSet, sched_getaffinity};
use testkit::{Driver, Edge, Topology};

/// Name of each thread, and the cores that it may run on.
fn threads(edge: &Edge<'_>) -> Vec<(String, BTreeSet<usize>)> {
    let tasks = fs::read_dir(format!("/proc/{}/task", edge.pid())).expect("it runs").flatten();
    let text = |path: std::path::PathBuf| fs::read_to_string(path).expect("it runs");
    tasks
        .map(|task| (text(task.path().join("comm")).trim().to_owned(), cores(&text(task.path().join("status")))))
        .collect()
}

/// Of the file `status` in /proc.
fn cores(status: &str) -> BTreeSet<usize> {
    let list =
        status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).expect("a line of proc(5)").trim();
    let number = |text: &str| text.parse::<usize>().expect("a core");
    list.split(',')
        .flat_map(|range| match range.split_once('-') {
            Some((first, last)) => number(first)..=number(last),
            None => number(range)..=number(range),
        })
        .collect()
}

/// Also after an upgrade: the new process gets all cores, and chooses as the first has.
#[test]
fn only_the_worker_runs_on_its_core() {
    if testkit::skipped() {
        return;
    }
    let allowed = sched_getaffinity(None).expect("of this thread");
    let there: BTreeSet<usize> = (0..CpuSet::MAX_CPU).filter(|core| allowed.is_set(*core)).collect();
    let topology = Topology::new(1);
    let mut edge = Edge::start(&topology.edge, Driver::XdpNative);
    for _ in 0..2 {
        let core = edge.json("status")["workers"][0]["core"].as_u64().expect("it has a core") as usize;
        assert_eq!(Some(&core), there.last());
        let others: BTreeSet<usize> = match there.len() {
            1 => there.clone(),
            _ => there.iter().copied().filter(|other| *other != core).collect(),
        };
        let threads = threads(&edge);
        assert!(threads.len() >= 3, "control, worker and metrics: {threads:?}");
        for (name, cores) in &threads {
            let expected = if name == "worker-0" { &BTreeSet::from([core]) } else { &others };
            assert_eq!(cores, expected, "{name} of {threads:?}");
        }
        edge.upgrade();
    }
    assert!(edge.stop().success());
}
