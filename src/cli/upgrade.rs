//! `upgrade`: another process takes over.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;

use super::client::Connection;
use super::out::say;
use super::words::plain;

/// `pointsman upgrade`
#[derive(Debug, clap::Args)]
pub struct Upgrade {
    /// The program that takes over; default: the one that now stands where the daemon's own stood when it was started
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

/// Has the daemon hand over, and prints what the new process says.
pub fn upgrade(args: &Upgrade) -> Result<()> {
    let binary = args.binary.as_ref().map(std::path::absolute).transpose()?;
    args.connection.show("upgrade", &json!({ "binary": binary }), |answer| {
        let [version, from, process, workers] =
            ["version", "from", "process", "workers"].map(|key| plain(&answer[key]));
        say!("pointsman {version} has taken over from {from} as process {process}");
        let pause = answer["longest_pause"].as_f64().unwrap_or_default() * 1e3;
        say!("its workers: {workers}; none of them stood still for longer than {pause:.2} ms");
    })
}
