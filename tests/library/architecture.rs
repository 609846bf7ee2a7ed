//! Who may import whom (ARCHITECTURE.md), held by parsing every file of every room: `use` trees, paths wherever they stand, and
//! what macros are handed. Only modules that are compiled for tests alone are left out.

mod named;
mod source;

use std::collections::BTreeSet;

use named::Named;
use source::{Program, Source, all_files};

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
    ("capture", &["forward", "moment", "snapshot"]),
    ("publish", &["capture", "flow", "snapshot", "stats"]),
    ("worker", &["capture", "config", "forward", "io", "moment", "publish", "snapshot", "stats"]),
    ("upgrade", &["config", "forward", "io", "moment", "stats", "worker"]),
    ("steer", &["config"]),
    ("underlay", &["forward", "moment", "snapshot", "wire"]),
    ("endpoint", &["underlay"]),
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

/// Where `unsafe` may be, each with its reason: instructions without a safe wrapper; the AF_XDP rings, and memory that a process
/// shares with the kernel; kernel calls without a safe wrapper; tracked flows in memory that two processes share; descriptors that
/// the process was started with; and, of an upgrade, the places that alone know when another process has stopped.
const UNSAFE: &[&str] = &[
    "flow/lanes.rs",
    "prefetch.rs",
    "io/xsk/",
    "io/packet_socket/",
    "steer/",
    "underlay/path_mtu/socket.rs",
    "worker/table.rs",
    "daemon/store.rs",
    "daemon/upgrade/predecessor.rs",
    "daemon/upgrade/queue.rs",
    "daemon/upgrade/relay.rs",
    "daemon/workers/legacy.rs",
];

/// A file's room: the first module of its path.
fn room_of(source: &Source) -> &str {
    source.module.first().map_or("", String::as_str)
}

/// Which files of these rooms name a path for which `is_wrong`, and where.
fn found(rooms: &[&str], is_wrong: impl Fn(&str, &[String]) -> bool) -> Vec<String> {
    let mut wrong = Vec::new();
    for source in Program::read().sources.iter().filter(|source| rooms.contains(&room_of(source))) {
        for (path, line) in Named::read(source).paths {
            if is_wrong(room_of(source), &path) {
                wrong.push(format!("src/{}:{line} names {}", source.name, path.join("::")));
            }
        }
    }
    wrong
}

fn begins_with(path: &[String], name: &str) -> bool {
    let mut names = path.iter();
    name.split("::").all(|part| names.next().is_some_and(|own| own == part))
}

#[test]
fn rooms_import_downwards_only() {
    let rooms: Vec<&str> = ROOMS.iter().map(|(room, _)| *room).collect();
    let wrong = found(&rooms, |room, path| match path {
        [first, other, ..] if first == "crate" && other != room => {
            let (_, allowed) = ROOMS.iter().find(|(name, _)| *name == room).expect("it is listed");
            !allowed.contains(&other.as_str())
        }
        _ => false,
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is allowed and not used any more would let it come back unseen.
#[test]
fn nothing_is_allowed_in_vain() {
    let program = Program::read();
    let mut unused = Vec::new();
    for (room, allowed) in ROOMS {
        let own: Vec<Named> =
            program.sources.iter().filter(|source| room_of(source) == *room).map(Named::read).collect();
        for other in *allowed {
            let path = format!("crate::{other}");
            if !own.iter().any(|named| named.paths.keys().any(|names| begins_with(names, &path))) {
                unused.push(format!("{room} may use {other}, and does not"));
            }
        }
    }
    assert!(unused.is_empty(), "{}", unused.join("\n"));
}

#[test]
fn every_file_is_read_and_every_room_listed() {
    let Program { sources, tests } = Program::read();
    let read: BTreeSet<String> = sources.iter().map(|source| source.name.clone()).chain(tests).collect();
    assert_eq!(read, all_files());
    for source in &sources {
        let room = room_of(source);
        let is_listed = ROOMS.iter().any(|(name, _)| *name == room);
        assert!(is_listed || room == "cli" || room.is_empty(), "src/{} is in no room that is listed", source.name);
    }
}

#[test]
fn the_core_is_pure() {
    let wrong = found(PURE, |_, path| path.len() > 1 && IMPURE.iter().any(|name| begins_with(path, name)));
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn unsafe_stays_in_its_places() {
    for source in &Program::read().sources {
        let lines = Named::read(source).unsafe_lines;
        let may = UNSAFE.iter().any(|place| source.name.starts_with(place));
        assert!(lines.is_empty() || may, "unsafe in src/{}: {lines:?}", source.name);
    }
}

#[test]
fn every_place_for_unsafe_has_some() {
    let program = Program::read();
    let files: Vec<&str> = program
        .sources
        .iter()
        .filter(|source| !Named::read(source).unsafe_lines.is_empty())
        .map(|source| source.name.as_str())
        .collect();
    for place in UNSAFE {
        assert!(files.iter().any(|file| file.starts_with(place)), "there is nothing unsafe in src/{place}");
    }
}
