//! `pointsman lookup`: against the daemon, or offline.

use super::out::say;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Result, anyhow};
use serde_json::{Value, json};

use super::client::{Connection, print_json};
use super::files::{load_config, load_set};
use super::offline::OfflineNode;
use super::words::plain;
use pointsman::control::clock::wall_clock;
use pointsman::control::lookup::{Query, explain};
use pointsman::model::Protocol;
use pointsman::moment::{Moment, SECOND};

/// `pointsman lookup`
#[derive(Debug, clap::Args)]
pub struct Lookup {
    /// The client's address
    #[arg(long, value_name = "A")]
    src: IpAddr,
    /// The VIP
    #[arg(long, value_name = "B")]
    dst: IpAddr,
    /// tcp, udp, icmp, ... or a number
    #[arg(long, value_name = "P", value_parser = known_protocol)]
    protocol: String,
    /// The client's port
    #[arg(long, value_name = "N", default_value_t = 0)]
    sport: u16,
    /// The VIP's port
    #[arg(long, value_name = "N", default_value_t = 0)]
    dport: u16,
    /// Ask no daemon: this config, with --set
    #[arg(long, value_name = "FILE", requires = "set")]
    config: Option<PathBuf>,
    /// The endpoint set, with --config
    #[arg(long, value_name = "FILE", requires = "config")]
    set: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

fn known_protocol(text: &str) -> Result<String, String> {
    text.parse::<Protocol>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

/// Prints which service, slot and endpoint a flow gets, and why.
pub fn run(args: &Lookup) -> Result<()> {
    let params = json!({
        "src": args.src, "dst": args.dst, "protocol": args.protocol, "sport": args.sport, "dport": args.dport,
    });
    let answer = match (&args.config, &args.set) {
        (Some(config), Some(set)) => {
            let query = Query::read(&params.into()).map_err(|problems| anyhow!("{problems}"))?;
            let mut node = OfflineNode::new(load_config(config)?)?;
            node.build(&load_set(set)?, Moment(u64::from(wall_clock()) * SECOND))?;
            // Nobody has forwarded anything yet, so no flow is tracked.
            json!(explain(&query, &node.builder.snapshot(), |_| Some(Vec::new())))
        }
        _ => args.connection.ask("lookup", &params)?,
    };
    if args.connection.json {
        print_json(&answer);
    } else {
        print(&answer);
    }
    Ok(())
}

fn print(answer: &Value) {
    for (title, key) in [
        ("service", "service"),
        ("hash", "hash"),
        ("slot", "slot"),
        ("table", "table_size"),
        ("memory", "memory"),
        ("tracked", "tracked"),
        ("endpoint", "endpoint"),
        ("address", "address"),
        ("next hop", "next_hop"),
        ("MTU", "mtu"),
        ("fragments", "later_fragments"),
        ("errors", "icmp_errors"),
        ("reason", "reason"),
    ] {
        say!("{title:<9} {}", plain(&answer[key]));
    }
}
