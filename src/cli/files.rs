//! Files that commands are given; an error names the file and everything to mend in it.

use std::path::Path;

use anyhow::{Context, Result, anyhow};

use pointsman::config::{self, Config};
use pointsman::document::Problems;
use pointsman::endpoint_set;
use pointsman::model::EndpointSet;

/// One line a problem, each with the file's name.
pub fn listed(path: &Path, problems: &Problems) -> String {
    let lines: Vec<String> = problems.0.iter().map(|problem| format!("{}: {problem}", path.display())).collect();
    lines.join("\n")
}

/// Reads and checks a config.
pub fn load_config(path: &Path) -> Result<Config> {
    config::load(path).map_err(|problems| anyhow!("{}", listed(path, &problems)))
}

/// The text of an endpoint set; `-` is standard input.
pub fn read_set(path: &Path) -> Result<String> {
    let text =
        if path == Path::new("-") { std::io::read_to_string(std::io::stdin()) } else { std::fs::read_to_string(path) };
    text.with_context(|| format!("{}: cannot be read", path.display()))
}

/// Reads and checks an endpoint set.
pub fn load_set(path: &Path) -> Result<EndpointSet> {
    endpoint_set::parse(&read_set(path)?).map_err(|problems| anyhow!("{}", listed(path, &problems)))
}
