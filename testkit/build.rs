//! Compiles the programs that generate, count and forward packets in the kernel, beside pointsman.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    bpf_build::compile_directories(&["src/measure", "src/traffic"])
}
