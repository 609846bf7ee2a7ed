//! `drain` and `resume`: whether the node draws traffic.

use anyhow::Result;
use serde_json::{Value, json};

use super::client::Connection;
use super::out::{say, warn};
use super::words::plain;

/// Withdraws the VIP routes; the daemon keeps forwarding.
pub fn drain(connection: &Connection) -> Result<()> {
    connection.show("drain", &json!({}), |answer| {
        say!("draining: no VIP is announced; what still comes is forwarded");
        print_warnings(answer);
    })
}

/// Announces the VIPs again.
pub fn resume(connection: &Connection) -> Result<()> {
    connection.show("resume", &json!({}), |answer| {
        let vips = answer["announced"].as_array().map_or(0, Vec::len);
        say!("not draining: {vips} {} announced", if vips == 1 { "VIP is" } else { "VIPs are" });
        print_warnings(answer);
    })
}

fn print_warnings(answer: &Value) {
    answer["warnings"].as_array().into_iter().flatten().for_each(|warning| warn(&plain(warning)));
}
