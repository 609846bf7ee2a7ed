//! Arguments, and one small file a command family.

mod apply;
mod capture;
mod changes;
mod check;
mod client;
mod colour;
mod completions;
mod drain;
mod endpoints;
mod examples;
mod files;
mod log;
mod lookup;
mod manual;
mod node;
mod offline;
mod out;
mod replay;
mod services;
mod session;
mod stats;
mod status;
mod table;
mod top;
mod upgrade;
mod watch;
mod words;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};

/// A layer-4 packet forwarder for edge nodes: public addresses end up as normal IP packets inside pods.
#[derive(Debug, Parser)]
#[command(version, about, propagate_version = true, max_term_width = 100)]
struct Arguments {
    /// When to colour what is printed for people: auto (on a terminal, unless NO_COLOR is set), always or never
    #[arg(long, global = true, value_name = "WHEN", value_enum, default_value_t)]
    #[arg(hide_possible_values = true, display_order = 900)]
    color: colour::When,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the daemon in the foreground
    ///
    /// SIGTERM withdraws the VIP routes, drains and stops; SIGHUP reads the config again. systemd is told when the node is
    /// ready, and that it is alive.
    Run(node::Run),
    /// Validate a config and an endpoint set; print every error, change nothing
    Check(check::Check),
    /// Push an endpoint set to the daemon, whole
    ///
    /// The set is refused whole, and nothing changes, or it is in force at every worker and on disk when this command
    /// ends. With --dry-run the daemon checks it just as well and answers what would change: a line for each service and
    /// endpoint that would come (+), go (-) or be different (~).
    Apply(apply::Apply),
    /// Print the endpoint set in force, as JSON that apply takes again
    Get(client::Connection),
    /// Print how the node is: problems first, then driver, workers, services
    ///
    /// Each line that begins with PROBLEM is one that somebody has to mend.
    Status(client::Connection),
    /// Print each service: its VIP, endpoints by state, table, handover, packets
    ///
    /// FINGERPRINT is the same on every node that has the same table. REMEMBERING slots still send older flows to the
    /// endpoint that they had before a change; TRACKED flows were seen while they did. INNER MTU is the largest packet that
    /// reaches each of the endpoints whole, MSS what TCP makes of it.
    Services(client::Connection),
    /// Print each endpoint: its state, share, packets, next hop
    ///
    /// SHARE is the part of the slots that an endpoint has, so of new flows. A draining endpoint with no TRACKED flow that no
    /// slot REMEMBERED can be removed without a loss. In place of a next hop stands why there is none.
    Endpoints(endpoints::Endpoints),
    /// Print every counter; for people, those that are not zero
    Stats(client::Connection),
    /// Print what happens, an event a line, until interrupted
    ///
    /// Sets that come into force and what they change, endpoints that have drained, drains, reloads and errors. When the
    /// daemon goes away that is said, and it is waited for, unless --exit says otherwise. With --json each line is an object
    /// with its type and time.
    Watch(watch::Watch),
    /// Write packets to a pcapng file, each as it came and as it left, with what became of it in its comment
    ///
    /// All packets for VIPs, or those that all the options ask for, as many as can be shown: at most some thousand a second. What
    /// could not be is counted, and said at the end. It ends after --count packets, after --seconds, or when interrupted; the
    /// file can be read at any time.
    Capture(capture::Capture),
    /// Show rates, drops, services, endpoints, workers and events, live on one screen
    ///
    /// Tab goes from pane to pane, arrows and page keys move in one; s sorts by the next column, r the other way round; / shows
    /// only rows with what is typed, p lets the screen stand still, Enter gives a pane all of it, ? explains the rest, q
    /// quits. A daemon that goes away is waited for.
    Top(top::Top),
    /// Print which service, slot and endpoint a flow gets, and why
    ///
    /// Asks the daemon, or, with --config and --set, nobody.
    Lookup(lookup::Lookup),
    /// Withdraw the VIP routes, so that traffic goes to other nodes; keep forwarding what still comes
    Drain(client::Connection),
    /// Undo drain
    Resume(client::Connection),
    /// Have the daemon hand everything over to the program that now stands at its own path; no packet is lost
    ///
    /// Sockets, rings, packet memory, tracked flows, counters and clients go from one process to the other. If the new one
    /// does not get ready, the old one goes on, and this command says why.
    Upgrade(upgrade::Upgrade),
    /// Run the same forwarding over a capture, with no privileges and no network
    Replay(replay::Replay),
    /// The pod's side: make a namespace accept tunnelled packets for VIPs
    Endpoint(node::Endpoint),
    /// After a crash: withdraw what the daemon left behind
    Cleanup(node::Cleanup),
    /// Print what bash, zsh or fish need to complete these commands
    Completions(completions::Completions),
    /// Write the manual pages
    #[command(hide = true)]
    Man(manual::Manual),
}

/// All that can be asked of the program, with examples.
fn command() -> clap::Command {
    examples::add_to(Arguments::command())
}

/// Runs the command that the arguments name.
pub fn run() -> ExitCode {
    let arguments = Arguments::from_arg_matches(&command().get_matches()).unwrap_or_else(|error| error.exit());
    colour::choose(arguments.color);
    let result = match arguments.command {
        Command::Run(args) => node::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Apply(args) => apply::apply(&args),
        Command::Get(connection) => apply::get(&connection),
        Command::Status(connection) => status::status(&connection),
        Command::Services(connection) => services::services(&connection),
        Command::Endpoints(args) => endpoints::endpoints(&args),
        Command::Stats(connection) => stats::stats(&connection),
        Command::Watch(args) => watch::watch(&args),
        Command::Capture(args) => capture::capture(&args),
        Command::Top(args) => top::top(&args),
        Command::Lookup(args) => lookup::run(&args),
        Command::Drain(connection) => drain::drain(&connection),
        Command::Resume(connection) => drain::resume(&connection),
        Command::Upgrade(args) => upgrade::upgrade(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Endpoint(args) => node::endpoint(&args),
        Command::Cleanup(args) => node::cleanup(&args),
        Command::Completions(args) => completions::completions(&args, command()),
        Command::Man(args) => manual::man(&args, command()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            out::fail(&out::in_full(&error));
            ExitCode::FAILURE
        }
    }
}
