//! Compiles programs for the kernel from a build script: every `*.bpf.c` of a directory becomes `OUT_DIR/<stem>.bpf.o`.

use std::env;
use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const NO_CLANG: &str =
    "clang is needed to compile the steering program: run `make deps` or apt-get install clang llvm libbpf-dev";

/// Compiles what lies in these directories, which are relative to the package's own. Cargo runs the build script again when a
/// program or a header in them changes, comes or goes.
///
/// # Errors
///
/// Where clang is missing or refuses a program, or a directory cannot be read.
pub fn compile_directories(directories: &[&str]) -> Result<(), Box<dyn Error>> {
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let headers = multiarch_headers();
    println!("cargo:rerun-if-changed=build.rs");
    for directory in directories.iter().map(Path::new) {
        // The directory too, so that a new file is seen; then each header and program by itself.
        println!("cargo:rerun-if-changed={}", directory.display());
        for entry in fs::read_dir(directory)? {
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
