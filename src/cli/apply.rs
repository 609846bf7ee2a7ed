//! `apply` and `get`: the endpoint set, pushed and printed.

use std::path::PathBuf;

use anyhow::{Context, Result, anyhow, bail};
use serde_json::{Value, json};

use super::changes::{mark, sentence};
use super::client::{Connection, print_json};
use super::files::read_set;
use super::out::{say, warn};
use super::session::AskError;
use super::words::{count, number, plain, quoted};
use pointsman::document::{Problem, TWICE, Tree};

/// `pointsman apply`
#[derive(Debug, clap::Args)]
pub struct Apply {
    /// The endpoint set, as JSON; - reads standard input
    #[arg(long, value_name = "FILE")]
    set: PathBuf,
    /// Permit services to lose all their endpoints
    #[arg(long)]
    allow_empty: bool,
    /// Have the daemon check everything and say what would change; change nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    connection: Connection,
}

/// Pushes a whole set.
pub fn apply(args: &Apply) -> Result<()> {
    let file = args.set.display();
    let text = read_set(&args.set)?;
    let tree: Tree<'_> = serde_json::from_str(&text).with_context(|| format!("{file}: not JSON"))?;
    if let Some(path) = tree.twice() {
        bail!("{file}: {}", Problem::at(&path, TWICE));
    }
    let mut set = tree.to_value();
    let Some(members) = set.as_object_mut() else { bail!("{file}: not a JSON object with revision and services") };
    for (key, is_asked) in [("allow_empty", args.allow_empty), ("dry_run", args.dry_run)] {
        if is_asked {
            members.insert(key.to_owned(), json!(true));
        }
    }
    let answer = args.connection.ask("apply", &set).map_err(|error| match error {
        AskError::Refused(reason) => anyhow!("{file}: {reason}"),
        other => other.into(),
    })?;
    if args.connection.json {
        print_json(&answer);
    } else if answer["dry_run"] == true {
        print_changes(&answer);
    } else {
        print_applied(&answer);
    }
    Ok(())
}

fn print_applied(answer: &Value) {
    say!(
        "revision {} in force as generation {}: {}, {}, {} changed",
        plain(&answer["revision"]),
        plain(&answer["generation"]),
        count(number(&answer["services"]), "service"),
        count(number(&answer["endpoints"]), "endpoint"),
        plain(&answer["changed"]),
    );
    answer["warnings"].as_array().into_iter().flatten().for_each(|warning| warn(&plain(warning)));
}

fn print_changes(answer: &Value) {
    for change in answer["changes"].as_array().into_iter().flatten() {
        let (mark, kind) = (mark(change), plain(&change["type"]));
        say!("{}", mark.tone.paint(&format!("{} {kind:<8}  {}", mark.sign, sentence(change).0)));
    }
    match number(&answer["more_changes"]) {
        0 => {}
        more => say!("and {more} more"),
    }
    say!(
        "The set has {} and {}. Nothing was changed: revision {} stays in force as generation {}.",
        count(number(&answer["services"]), "service"),
        count(number(&answer["endpoints"]), "endpoint"),
        quoted(&answer["revision"]),
        plain(&answer["generation"]),
    );
}

/// Prints the set in force, as JSON with and without `--json`: `apply` takes it again.
pub fn get(connection: &Connection) -> Result<()> {
    print_json(&connection.ask("get", &json!({}))?);
    Ok(())
}
