//! `pointsman check`: validates config and set, prints every error, changes nothing.

use super::out::{say, warn};
use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Result, anyhow};

use super::files::{listed, load_config, load_set};
use super::offline::{join_checked, with_any_source};
use pointsman::config::Config;
use pointsman::control::advice::advice;
use pointsman::control::limits;
use pointsman::control::proposal::Proposal;
use pointsman::control::set::check_vips;
use pointsman::control::settings::settings;
use pointsman::document::{Problem, Problems};
use pointsman::model::EndpointSet;
use pointsman::snapshot::Settings;
use pointsman::underlay;

/// `pointsman check`
#[derive(Debug, clap::Args)]
pub struct Check {
    /// The config
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// An endpoint set to check with it
    #[arg(long, value_name = "FILE")]
    set: Option<PathBuf>,
}

/// Checks both files before it says anything, so that all errors come at once.
pub fn run(args: &Check) -> Result<()> {
    let config = load_config(&args.config);
    let set = args.set.as_deref().map(load_set).transpose();
    let (config, set) = match (config, set) {
        (Ok(config), Ok(set)) => (config, set),
        (Err(first), Err(second)) => return Err(anyhow!("{first}\n{second}")),
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let mtu = config.underlay.mtu;
    join_checked(&config, &Proposal::whole(EndpointSet::default()), mtu)
        .map_err(|refusal| anyhow!("{}", listed(&args.config, &Problems::from(refusal))))?;
    if let (Some(path), Some(set)) = (&args.set, &set) {
        let proposal = Proposal::whole(set.clone());
        let refusals = [check_vips(&config, &proposal).err(), join_checked(&config, &proposal, mtu).err()];
        let problems: Vec<Problem> =
            refusals.into_iter().flatten().flat_map(|refusal| Problems::from(refusal).0).collect();
        if !problems.is_empty() {
            return Err(anyhow!("{}", listed(path, &Problems(problems))));
        }
    }
    let services = config.services.iter().chain(set.iter().flat_map(|set| &set.services));
    // The node's addresses cannot be seen from here.
    advice(services, &BTreeSet::new()).iter().for_each(|warning| warn(warning));
    say!("{}: valid", args.config.display());
    let joined = join_checked(&config, &Proposal::whole(set.clone().unwrap_or_default()), None);
    let warnings = joined.map(|joined| limits::warnings(&joined, &settings_here(&config))).unwrap_or_default();
    warnings.iter().for_each(|warning| warn(warning));
    if let (Some(path), Some(set)) = (&args.set, &set) {
        say!("{}: valid, {} services, {} endpoints", path.display(), set.services.len(), set.endpoint_count());
    }
    Ok(())
}

/// The settings as they would be where this runs. Where the interface is not there, what only it can say is taken to be as it
/// should.
fn settings_here(config: &Config) -> Settings {
    let link = underlay::link(&config.interface.name).ok();
    let settings = settings(config, link.as_ref());
    if link.is_some() { settings } else { with_any_source(settings) }
}
