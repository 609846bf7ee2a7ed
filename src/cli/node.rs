//! The commands that change this host: `run`, `cleanup`, `endpoint`.

use super::out::say;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::Result;

use super::files::load_config;
use super::log;
use pointsman::daemon;
use pointsman::endpoint::{self, EndpointOptions};
use pointsman::wire::gue;

/// `pointsman run`
#[derive(Debug, clap::Args)]
pub struct Run {
    /// The config
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

/// Runs the daemon in the foreground.
pub fn run(args: &Run) -> Result<()> {
    log::init();
    Ok(daemon::run(load_config(&args.config)?, std::path::absolute(&args.config)?)?)
}

/// `pointsman cleanup`
#[derive(Debug, clap::Args)]
pub struct Cleanup {
    /// The config of the daemon that crashed
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Remove the steering program too: from then on the kernel gets the VIPs' packets
    #[arg(long)]
    detach: bool,
}

/// Withdraws the VIP routes that a crash has left, and more where it is asked to; says what it did.
pub fn cleanup(args: &Cleanup) -> Result<()> {
    let done = daemon::cleanup(&load_config(&args.config)?, args.detach)?;
    done.iter().for_each(|line| say!("{line}"));
    Ok(())
}

/// `pointsman endpoint`
#[derive(Debug, clap::Args)]
pub struct Endpoint {
    /// The interface by which tunnelled packets come
    #[arg(long, value_name = "IF")]
    interface: String,
    /// A VIP to accept packets for; may be given several times
    #[arg(long = "vip", value_name = "A", required = true)]
    vips: Vec<IpAddr>,
    /// The network namespace to change; default: this one
    #[arg(long, value_name = "PATH")]
    netns: Option<PathBuf>,
    /// The UDP port that GUE comes by
    #[arg(long, value_name = "N", default_value_t = gue::PORT, value_parser = clap::value_parser!(u16).range(1..))]
    gue_port: u16,
    /// The room for outer headers that the announced MSS leaves: 44 GRE over IPv6, 48 with a key or MPLS over GRE,
    /// 40 IPIP, 52 GUE, 4 MPLS
    #[arg(long, value_name = "BYTES", default_value_t = endpoint::DEFAULT_OVERHEAD)]
    #[arg(value_parser = clap::value_parser!(u32).range(4..=120))]
    overhead: u32,
    /// Change nothing; print the `ip` commands for the kernel's own tunnel devices instead
    #[arg(long, conflicts_with = "remove")]
    print: bool,
    /// Undo it; give the same --overhead as when it was done
    #[arg(long)]
    remove: bool,
}

/// Makes a namespace accept tunnelled packets for the VIPs.
pub fn endpoint(args: &Endpoint) -> Result<()> {
    let options = EndpointOptions {
        interface: args.interface.clone(),
        vips: args.vips.clone(),
        netns: args.netns.clone(),
        gue_port: args.gue_port,
        overhead: args.overhead,
    };
    let lines = if args.print {
        endpoint::equivalent_commands(&options)
    } else if args.remove {
        endpoint::remove(&options)?
    } else {
        endpoint::configure(&options)?
    };
    lines.iter().for_each(|line| say!("{line}"));
    Ok(())
}
