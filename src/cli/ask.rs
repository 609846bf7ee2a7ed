//! The commands that talk to a running daemon.

use super::out::{self, say};
use std::path::PathBuf;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::client::{Connection, print_json};
use super::files::read_set;
use super::table::{Table, plain};

/// `pointsman apply`
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// The endpoint set, as JSON; - reads standard input
    #[arg(long, value_name = "FILE")]
    set: PathBuf,
    /// Permit services to lose all their endpoints
    #[arg(long)]
    allow_empty: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Pushes a whole set.
pub fn apply(args: &Apply) -> Result<()> {
    let text = read_set(&args.set)?;
    let mut set: Value = serde_json::from_str(&text).with_context(|| format!("{}: not JSON", args.set.display()))?;
    if args.allow_empty
        && let Some(members) = set.as_object_mut()
    {
        members.insert("allow_empty".to_owned(), json!(true));
    }
    let result = args.connection.ask("apply", &set).with_context(|| format!("{}", args.set.display()))?;
    if args.connection.json {
        print_json(&result);
        return Ok(());
    }
    say!(
        "revision {} in force as generation {}: {} services, {} endpoints, {} changed",
        plain(&result["revision"]),
        plain(&result["generation"]),
        plain(&result["services"]),
        plain(&result["endpoints"]),
        plain(&result["changed"]),
    );
    for warning in result["warnings"].as_array().into_iter().flatten() {
        eprintln!("warning: {}", plain(warning));
    }
    Ok(())
}

/// Prints the set in force.
pub fn get(connection: &Connection) -> Result<()> {
    print_json(&connection.ask("get", &json!({}))?);
    Ok(())
}

/// Prints how the node is.
pub fn status(connection: &Connection) -> Result<()> {
    connection.show("status", &json!({}), |status| {
        for (title, key) in [
            ("node", "node"),
            ("version", "version"),
            ("uptime", "uptime"),
            ("revision", "revision"),
            ("generation", "generation"),
            ("draining", "draining"),
            ("announced", "announced"),
            ("interface", "interface"),
            ("up", "interface_up"),
            ("driver", "driver"),
            ("mode", "mode"),
            ("underlay MTU", "underlay_mtu"),
        ] {
            let unit = if key == "uptime" { " s" } else { "" };
            say!("{title:<13} {}{unit}", plain(&status[key]));
        }
        if let Some(problem) = status["interface_problem"].as_str() {
            say!("{:<13} {problem}", "INTERFACE");
        }
        if let Some(problem) = status["store_problem"].as_str() {
            say!("{:<13} {problem}", "ON DISK");
        }
        if let Some(problem) = status["announce_problem"].as_str() {
            say!("{:<13} {problem}", "VIP ROUTES");
        }
        say!("\n{}", workers(status).text());
        out::write(format_args!("{}", services(status).text()));
        print_unreachable(status);
    })
}

fn workers(status: &Value) -> Table {
    let mut table = Table::new(&["WORKER", "QUEUE", "CORE", "ZERO COPY"]);
    for worker in status["workers"].as_array().into_iter().flatten() {
        table.row(["worker", "queue", "core", "zero_copy"].iter().map(|key| plain(&worker[key])).collect());
    }
    table
}

fn services(status: &Value) -> Table {
    let heading = [
        "SERVICE",
        "VIP",
        "PROTOCOL",
        "PORTS",
        "ACTIVE",
        "DRAINING",
        "DOWN",
        "TABLE",
        "FINGERPRINT",
        "INNER MTU",
        "MSS",
    ];
    let mut table = Table::new(&heading);
    for service in status["services"].as_array().into_iter().flatten() {
        let any = |key: &str| if service[key].is_null() { "any".to_owned() } else { plain(&service[key]) };
        let endpoints = &service["endpoints"];
        table.row(vec![
            plain(&service["name"]),
            plain(&service["vip"]),
            any("protocol"),
            any("ports"),
            plain(&endpoints["active"]),
            plain(&endpoints["draining"]),
            plain(&endpoints["down"]),
            plain(&service["table_size"]),
            plain(&service["fingerprint"]),
            plain(&service["inner_mtu"]),
            plain(&service["mss"]),
        ]);
    }
    table
}

fn print_unreachable(status: &Value) {
    for service in status["services"].as_array().into_iter().flatten() {
        for (endpoint, reason) in service["unreachable"].as_object().into_iter().flatten() {
            say!("UNREACHABLE {} {endpoint}: {}", plain(&service["name"]), plain(reason));
        }
    }
}

/// Prints every counter; for people, those that are not zero.
pub fn stats(connection: &Connection) -> Result<()> {
    connection.show("stats", &json!({}), |stats| {
        let mut table = Table::new(&["COUNTER", "OF", "VALUE"]);
        for (name, value) in stats.as_object().into_iter().flatten() {
            rows(&mut table, name, "", value);
        }
        out::write(format_args!("{}", table.text()));
    })
}

fn rows(table: &mut Table, name: &str, of: &str, value: &Value) {
    match value {
        Value::Object(members) => {
            for (label, value) in members {
                rows(table, name, &if of.is_empty() { label.clone() } else { format!("{of} {label}") }, value);
            }
        }
        value if value.as_f64() == Some(0.0) || value.is_null() => {}
        value => table.row(vec![name.to_owned(), of.to_owned(), plain(value)]),
    }
}
