//! Compiles the BPF programs into `OUT_DIR/<stem>.bpf.o`.

use std::path::Path;
use std::process::Command;
use std::{env, fs, io};

const ROOMS: [&str; 2] = ["src/steer", "src/endpoint"];

fn main() -> io::Result<()> {
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    for room in ROOMS.iter().filter(|room| Path::new(room).is_dir()) {
        println!("cargo::rerun-if-changed={room}");
        for entry in fs::read_dir(room)? {
            let source = entry?.path();
            let Some(name) = source.file_name().and_then(|name| name.to_str()) else { continue };
            if let Some(stem) = name.strip_suffix(".bpf.c") {
                compile(&source, &Path::new(&out).join(format!("{stem}.bpf.o")))?;
            }
        }
    }
    Ok(())
}

fn compile(source: &Path, object: &Path) -> io::Result<()> {
    let status = Command::new("clang")
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3"])
        .arg(format!("-I/usr/include/{}-linux-gnu", env::consts::ARCH))
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object)
        .status()
        .map_err(|error| io::Error::other(format!("cannot run clang, which compiles {}: {error}", source.display())))?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("clang refused {}", source.display()))) }
}
