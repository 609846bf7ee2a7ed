//! Compiles the kernel's share of pointsman.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    bpf_build::compile_directories(&["src/steer", "src/endpoint"])
}
