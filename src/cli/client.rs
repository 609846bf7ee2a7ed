//! One question to the control socket.

use super::out::say;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// How long an answer may take. A set of 100,000 endpoints is in force within seconds.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the daemon is, and how to print what it says.
#[derive(Debug, clap::Args)]
pub struct Connection {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = "/run/pointsman/control.sock")]
    pub socket: PathBuf,
    /// Print the answer as JSON, for programs
    #[arg(long)]
    pub json: bool,
}

impl Connection {
    /// Asks, and waits for the result.
    pub fn ask(&self, method: &str, params: &Value) -> Result<Value> {
        let place = self.socket.display();
        let stream = UnixStream::connect(&self.socket)
            .with_context(|| format!("{place}: no daemon answers there (is `pointsman run` up? another --socket?)"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let question = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let context = || format!("{place}: the daemon went away");
        (&stream).write_all(format!("{question}\n").as_bytes()).with_context(context)?;
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).with_context(context)?;
        let mut answer: Value = serde_json::from_str(&line).with_context(context)?;
        if let Some(error) = answer.get("error") {
            bail!("{}", error["message"].as_str().unwrap_or("the daemon refused without a reason"));
        }
        Ok(answer["result"].take())
    }

    /// Asks, then prints the result as JSON or by `table`.
    pub fn show(&self, method: &str, params: &Value, table: impl Fn(&Value)) -> Result<()> {
        let result = self.ask(method, params)?;
        if self.json {
            print_json(&result)
        } else {
            table(&result)
        }
        Ok(())
    }
}

/// Prints a value for programs.
pub fn print_json(value: &Value) {
    say!("{value:#}");
}
