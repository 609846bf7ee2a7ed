//! Compiles the kernel's share of pointsman: every `*.bpf.c` in the rooms below becomes `OUT_DIR/<stem>.bpf.o`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms that own programs for the kernel.
const ROOMS: [&str; 4] = ["src/steer", "src/endpoint", "bench/forward", "bench/veth"];

const NO_CLANG: &str =
    "clang is needed to compile the steering program: run `make deps` or apt-get install clang llvm libbpf-dev";

fn main() -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let headers = multiarch_headers();
    println!("cargo:rerun-if-changed=build.rs");
    for room in ROOMS.map(Path::new) {
        // The directory too, so that a new file is seen; then each header and program by itself.
        println!("cargo:rerun-if-changed={}", room.display());
        if !room.is_dir() {
            continue;
        }
        for entry in fs::read_dir(room)? {
            let file = entry?.path();
            let Some(name) = file.file_name().and_then(|name| name.to_str()) else { continue };
            if name.ends_with(".h") || name.ends_with(".bpf.c") {
                println!("cargo:rerun-if-changed={}", file.display());
            }
            if let Some(stem) = name.strip_suffix(".bpf.c") {
                compile(&file, &out.join(format!("{stem}.bpf.o")), &headers)?;
            }
        }
    }
    Ok(())
}

fn compile(source: &Path, object: &Path, headers: &Path) -> Result<(), Box<dyn Error>> {
    let status = Command::new("clang")
        .args(["-O2", "-g", "-Wall", "-Werror", "-target", "bpf", "-mcpu=v3", "-I"])
        .arg(headers)
        .arg("-c")
        .arg(source)
        .arg("-o")
        .arg(object)
        .status()
        .map_err(|error| format!("{NO_CLANG} ({error})"))?;
    if status.success() { Ok(()) } else { Err(format!("clang could not compile {}", source.display()).into()) }
}

/// Where Debian keeps `asm/types.h`, which clang does not look for when it compiles for bpf.
fn multiarch_headers() -> PathBuf {
    let said = Command::new("cc").arg("-print-multiarch").output().ok();
    let triplet = said
        .and_then(|output| String::from_utf8(output.stdout).ok())
        .map(|text| text.trim().to_owned())
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| {
            let arch = env::var("CARGO_CFG_TARGET_ARCH").unwrap_or_else(|_| env::consts::ARCH.to_owned());
            format!("{arch}-linux-gnu")
        });
    Path::new("/usr/include").join(triplet)
}
