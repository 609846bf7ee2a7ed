//! Arguments, and one small file a command family.

mod ask;
mod check;
mod client;
mod drain;
mod files;
mod log;
mod lookup;
mod node;
mod offline;
mod out;
mod replay;
mod table;

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
    /// Run the daemon in the foreground
    Run(node::Run),
    /// Validate a config and an endpoint set; print every error, change nothing
    Check(check::Check),
    /// Push an endpoint set to the daemon, whole
    Apply(ask::Apply),
    /// Print the endpoint set in force
    Get(client::Connection),
    /// Print how the node is: driver, workers, services
    Status(client::Connection),
    /// Print every counter
    Stats(client::Connection),
    /// Print which service, slot and endpoint a flow gets, and why
    Lookup(lookup::Lookup),
    /// Withdraw the VIP routes, so that traffic goes to other nodes; keep forwarding what still comes
    Drain(client::Connection),
    /// Undo drain
    Resume(client::Connection),
    /// Run the same forwarding over a capture, with no privileges and no network
    Replay(replay::Replay),
    /// The pod's side: make a namespace accept tunnelled packets for VIPs
    Endpoint(node::Endpoint),
    /// After a crash: withdraw what the daemon left behind
    Cleanup(node::Cleanup),
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Run(args) => node::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Apply(args) => ask::apply(&args),
        Command::Get(connection) => ask::get(&connection),
        Command::Status(connection) => ask::status(&connection),
        Command::Stats(connection) => ask::stats(&connection),
        Command::Lookup(args) => lookup::run(&args),
        Command::Drain(connection) => drain::drain(&connection),
        Command::Resume(connection) => drain::resume(&connection),
        Command::Replay(args) => replay::run(&args),
        Command::Endpoint(args) => node::endpoint(&args),
        Command::Cleanup(args) => node::cleanup(&args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("pointsman: {error:#}");
            ExitCode::FAILURE
        }
    }
}
