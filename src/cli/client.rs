//! What the commands that talk to the daemon have in common.

use std::path::PathBuf;

use anyhow::Result;
use serde_json::Value;

use super::out::say;
use super::session::{AskError, Session};

/// The control socket of a daemon whose config names no other.
pub const DEFAULT_SOCKET: &str = "/run/pointsman/control.sock";

/// Where the daemon is, and how to print what it says.
#[derive(Debug, clap::Args)]
pub struct Connection {
    /// The daemon's control socket
    #[arg(long, value_name = "PATH", default_value = DEFAULT_SOCKET)]
    pub socket: PathBuf,
    /// Print JSON, for programs
    #[arg(long)]
    pub json: bool,
}

impl Connection {
    /// Connects, for several questions.
    pub fn open(&self) -> Result<Session, AskError> {
        Session::open(&self.socket)
    }

    /// Asks one question, and waits for the result.
    pub fn ask(&self, method: &str, params: &Value) -> Result<Value, AskError> {
        self.open()?.ask(method, params)
    }

    /// Asks, then prints the result as JSON or by `print`.
    pub fn show(&self, method: &str, params: &Value, print: impl Fn(&Value)) -> Result<()> {
        let result = self.ask(method, params)?;
        if self.json {
            print_json(&result)
        } else {
            print(&result)
        }
        Ok(())
    }
}

/// Prints a value for programs.
pub fn print_json(value: &Value) {
    say!("{value:#}");
}
