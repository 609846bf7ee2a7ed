//! `man`: the manual pages, made of what `--help` says, for `make install` and for packages.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::examples;
use super::out::say;

const VERSION: &str = env!("CARGO_PKG_VERSION");
/// System administration, by man(1).
const SECTION: &str = "8";

/// `pointsman man`
#[derive(Debug, clap::Args)]
pub struct Manual {
    /// The directory to write the pages to; it is made where it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// Writes a page for the program and one for each command; prints their paths.
pub fn man(args: &Manual, command: Command) -> Result<()> {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    let dir = &args.out;
    fs::create_dir_all(dir).with_context(|| format!("{}: the directory cannot be made", dir.display()))?;
    let pages: Vec<&Command> = command.get_subcommands().filter(|command| !command.is_hide_set()).collect();
    let names: Vec<String> = pages.iter().map(|page| display_name(page)).collect();
    write_page(dir, &command, &names)?;
    pages.iter().try_for_each(|page| write_page(dir, page, &["pointsman".to_owned()]))
}

fn display_name(command: &Command) -> String {
    command.get_display_name().unwrap_or_else(|| command.get_name()).to_owned()
}

fn write_page(dir: &Path, command: &Command, see_also: &[String]) -> Result<()> {
    let page = Man::new(command.clone()).section(SECTION);
    let name = display_name(command);
    // Without a date, so that the same source makes the same pages.
    let mut text = format!(".TH {name} {SECTION} \"\" \"pointsman {VERSION}\" \"pointsman\"\n").into_bytes();
    page.render_name_section(&mut text)?;
    synopsis(command).to_writer(&mut text)?;
    page.render_description_section(&mut text)?;
    page.render_options_section(&mut text)?;
    if command.has_subcommands() {
        page.render_subcommands_section(&mut text)?;
    }
    own_sections(command, see_also).to_writer(&mut text)?;
    let path = dir.join(page.get_filename());
    let mut file = fs::File::create(&path).with_context(|| format!("{}: cannot be written", path.display()))?;
    file.write_all(&text).with_context(|| format!("{}: cannot be written", path.display()))?;
    say!("{}", path.display());
    Ok(())
}

fn synopsis(command: &Command) -> Roff {
    let usage = command.clone().render_usage().to_string();
    let mut roff = Roff::new();
    roff.control("SH", ["SYNOPSIS"]).text([bold(usage.trim_start_matches("Usage: "))]);
    roff
}

/// The sections that `--help` does not have as such.
fn own_sections(command: &Command, see_also: &[String]) -> Roff {
    let mut roff = Roff::new();
    roff.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in
        [("0", "Success."), ("1", "Failure; one sentence on standard error says what to mend."), ("2", "Bad usage.")]
    {
        roff.control("TP", []).text([bold(code)]).text([roman(meaning)]);
    }
    let examples = examples::of(command.get_name());
    if !examples.is_empty() {
        roff.control("SH", ["EXAMPLES"]);
        for (what, line) in examples {
            roff.control("PP", []).text([roman(*what)]);
            roff.control("PP", []).control("RS", ["4"]).control("nf", []);
            roff.text([roman(*line)]).control("fi", []).control("RE", []);
        }
    }
    roff.control("SH", ["FILES"]);
    for (path, what) in [
        ("/etc/pointsman/pointsman.toml", "The config that the systemd unit names."),
        ("/run/pointsman/control.sock", "The control socket, if the config names no other."),
    ] {
        roff.control("TP", []).text([bold(path)]).text([roman(what)]);
    }
    roff.control("SH", ["SEE ALSO"]);
    for (index, name) in see_also.iter().enumerate() {
        let comma = if index + 1 < see_also.len() { "," } else { "" };
        roff.text([bold(name), roman(format!("({SECTION}){comma}"))]);
    }
    roff
}
