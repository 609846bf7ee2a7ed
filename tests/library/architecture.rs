//! Who may import whom (ARCHITECTURE.md), held by reading the `use` lines and paths of every room.

use std::fs;
use std::path::{Path, PathBuf};

/// The rooms from the bottom up, and what each may use of the others. A room may always use itself.
const ROOMS: &[(&str, &[&str])] = &[
    ("moment", &[]),
    ("prefetch", &[]),
    ("wire", &[]),
    ("frame", &[]),
    ("flow", &["wire"]),
    ("maglev", &["prefetch"]),
    ("model", &["flow", "maglev", "wire"]),
    ("vip_map", &["flow", "prefetch", "wire"]),
    ("handover", &["flow", "maglev", "model", "moment"]),
    ("document", &[]),
    ("endpoint_set", &["document", "maglev", "model", "vip_map", "wire"]),
    ("snapshot", &["flow", "forward", "handover", "maglev", "model", "prefetch", "vip_map", "wire"]),
    ("forward", &["flow", "frame", "handover", "maglev", "model", "moment", "prefetch", "snapshot", "vip_map", "wire"]),
    ("config", &["document", "endpoint_set", "flow", "forward", "model", "snapshot", "wire"]),
    ("io", &["config", "frame", "moment", "wire"]),
    ("stats", &["forward", "io", "moment", "prefetch", "snapshot"]),
    ("metrics", &["stats"]),
    ("capture", &["flow", "forward", "moment", "snapshot"]),
    ("publish", &["capture", "flow", "forward", "model", "snapshot", "stats"]),
    ("worker", &["capture", "config", "forward", "io", "moment", "publish", "snapshot", "stats"]),
    ("upgrade", &["config", "forward", "io", "moment", "stats", "worker"]),
    ("steer", &["config"]),
    ("underlay", &["forward", "moment", "snapshot", "wire"]),
    ("endpoint", &["steer", "underlay"]),
    (
        "control",
        &[
            "capture",
            "config",
            "document",
            "endpoint_set",
            "flow",
            "forward",
            "frame",
            "handover",
            "maglev",
            "model",
            "moment",
            "publish",
            "snapshot",
            "stats",
            "underlay",
            "upgrade",
            "vip_map",
            "wire",
        ],
    ),
    (
        "daemon",
        &[
            "config", "control", "forward", "io", "metrics", "moment", "publish", "snapshot", "stats", "steer",
            "underlay", "upgrade", "worker",
        ],
    ),
];

/// The pure core knows no socket, file, thread, lock, logger or clock.
const PURE: &[&str] =
    &["moment", "prefetch", "wire", "frame", "flow", "maglev", "model", "vip_map", "handover", "snapshot", "forward"];
const IMPURE: &[&str] = &[
    "std::fs",
    "std::io",
    "std::thread",
    "std::sync::Mutex",
    "std::sync::RwLock",
    "std::sync::atomic",
    "std::time",
    "std::os",
    "std::process",
    "std::env",
    "tracing",
    "rustix",
    "libc",
    "mio",
    "aya",
    "pnet",
    "crossbeam",
    "serde_json",
];

/// Where `unsafe` may be, each with its reason: the AF_XDP rings, kernel calls without a safe wrapper, instructions without
/// one, and descriptors that the process was started with.
const UNSAFE: &[&str] = &[
    "flow/lanes.rs",
    "prefetch.rs",
    "io/xsk/",
    "io/packet_socket/",
    "steer/",
    "endpoint/",
    "underlay/path_mtu/socket.rs",
    "worker/table.rs",
    "daemon/store.rs",
];

fn sources(room: &str) -> Vec<PathBuf> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let file = src.join(format!("{room}.rs"));
    let mut files: Vec<PathBuf> = if file.exists() { vec![file] } else { Vec::new() };
    collect(&src.join(room), &mut files);
    assert!(!files.is_empty(), "no such room: {room}");
    files
}

fn collect(directory: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).into_iter().flatten() {
        let path = entry.expect("readable").path();
        if path.is_dir() {
            collect(&path, into);
        } else if path.extension().is_some_and(|end| end == "rs") {
            into.push(path);
        }
    }
}

/// A file's code without comments and without its tests, which may use what they need.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("readable");
    if path.ends_with("tests.rs") {
        return String::new();
    }
    let code = text.split("\n#[cfg(test)]").next().unwrap_or_default();
    code.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// Whether the code names a path that begins like this one.
fn names(code: &str, path: &str) -> bool {
    code.match_indices(path).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + path.len()..].chars().next();
        before.is_none_or(|c| !c.is_alphanumeric() && c != '_' && c != ':') && matches!(after, Some(':' | ';'))
    })
}

#[test]
fn rooms_import_downwards_only() {
    let mut wrong = Vec::new();
    for (room, allowed) in ROOMS {
        for path in sources(room) {
            let code = code(&path);
            for (other, _) in ROOMS.iter().filter(|(other, _)| other != room && !allowed.contains(other)) {
                let named = [format!("crate::{other}::"), format!("crate::{other};"), format!("crate::{other} ")];
                if named.iter().any(|name| code.contains(name)) {
                    wrong.push(format!("{} uses {other}", path.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_room_is_listed() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in fs::read_dir(src).expect("there") {
        let name = entry.expect("readable").file_name().to_string_lossy().replace(".rs", "");
        let listed = ROOMS.iter().any(|(room, _)| *room == name);
        assert!(listed || ["lib", "main", "cli"].contains(&name.as_str()), "src/{name} is in no list");
    }
}

#[test]
fn the_core_is_pure() {
    let mut wrong = Vec::new();
    for path in PURE.iter().flat_map(|room| sources(room)) {
        let code = code(&path);
        for name in IMPURE.iter().filter(|name| names(&code, name)) {
            wrong.push(format!("{} uses {name}", path.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_its_places() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    collect(&src, &mut files);
    for path in files {
        let name = path.strip_prefix(&src).expect("below src").display().to_string();
        let code = code(&path);
        let has = code.contains("unsafe {") || code.contains("unsafe impl") || code.contains("unsafe fn");
        assert!(!has || UNSAFE.iter().any(|place| name.starts_with(place)), "unsafe in src/{name}");
    }
}
