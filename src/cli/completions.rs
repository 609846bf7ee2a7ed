//! `completions`: what a shell needs to complete these commands.

use anyhow::Result;
use clap::ValueEnum;
use clap_complete::{Generator, Shell};

use super::out;

/// `pointsman completions`
#[derive(Debug, clap::Args)]
pub struct Completions {
    /// The shell to print them for
    shell: KnownShell,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum KnownShell {
    Bash,
    Zsh,
    Fish,
}

/// Prints the completions.
pub fn completions(args: &Completions, mut command: clap::Command) -> Result<()> {
    let shell = match args.shell {
        KnownShell::Bash => Shell::Bash,
        KnownShell::Zsh => Shell::Zsh,
        KnownShell::Fish => Shell::Fish,
    };
    command.set_bin_name("pointsman");
    command.build();
    let mut script = Vec::new();
    shell.try_generate(&command, &mut script)?;
    out::write(format_args!("{}", String::from_utf8_lossy(&script)));
    Ok(())
}
