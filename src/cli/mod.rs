//! Arguments, and one small file a command family.

mod files;
mod replay;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// A layer-4 packet forwarder for edge nodes: public addresses end up as normal IP packets inside pods.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the same forwarding over a capture, with no privileges and no network
    Replay(replay::Replay),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let arguments = Arguments::parse();
    let result = match arguments.command {
        Command::Replay(args) => replay::run(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pointsman: {error:#}");
            ExitCode::FAILURE
        }
    }
}
