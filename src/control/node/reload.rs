//! The config, read again while the node runs: what can change without a restart does, all of it or nothing.

use std::collections::HashSet;
use std::path::Path;

use super::Node;
use crate::config::{
    self, AnnounceConfig, Config, ControlConfig, HandoverConfig, InterfaceConfig, NodeConfig, UnderlayConfig,
};
use crate::control::event::Event;
use crate::control::left_out::{LeftOut, Parted};
use crate::control::proposal::Proposal;
use crate::control::protocol::Fault;
use crate::control::set::Refusal;
use crate::document::Problems;
use crate::model::EndpointSet;
use crate::underlay::announce::VipRoutes;

/// Services that one sentence names.
const MOST_NAMED: usize = 10;

/// What it takes for a key to come into force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Takes {
    /// SIGHUP.
    Reload,
    /// `pointsman upgrade`, which loses nothing.
    Upgrade,
    /// A restart, which loses tracked flows.
    Restart,
}

/// One key: whether it differs, and what changes it with the least loss.
struct Key {
    name: &'static str,
    differs: bool,
    takes: Takes,
}

/// Every key of two configs. All fields are named here, so that none is forgotten.
fn keys(old: &Config, new: &Config) -> Vec<Key> {
    let Config { node, interface, underlay, seed, handover, control, announce, metrics_listen, services } = old;
    let NodeConfig { name, state_dir } = node;
    let UnderlayConfig { source_v6, source_v4, mtu, hop_limit, dscp, next_hop } = underlay;
    let HandoverConfig { window, tracked_flows } = handover;
    let ControlConfig { socket, mode, group, allow_users, vip_allow } = control;
    let AnnounceConfig { routes, drain_time } = announce;
    let InterfaceConfig { name: link, mac, driver, xdp_mode, zero_copy, queues, cores, frames, pin, batch, poll } =
        interface;
    let can = |name, differs| Key { name, differs, takes: Takes::Reload };
    let upgrade = |name, differs| Key { name, differs, takes: Takes::Upgrade };
    let cannot = |name, differs| Key { name, differs, takes: Takes::Restart };
    vec![
        can("node.name", *name != new.node.name),
        cannot("node.state_dir", *state_dir != new.node.state_dir),
        cannot("interface.name", *link != new.interface.name),
        upgrade("interface.mac", *mac != new.interface.mac),
        cannot("interface.driver", *driver != new.interface.driver),
        cannot("interface.xdp_mode", *xdp_mode != new.interface.xdp_mode),
        cannot("interface.zero_copy", *zero_copy != new.interface.zero_copy),
        cannot("interface.queues", *queues != new.interface.queues),
        upgrade("interface.cores", *cores != new.interface.cores),
        cannot("interface.frames", *frames != new.interface.frames),
        cannot("interface.pin", *pin != new.interface.pin),
        upgrade("interface.batch", *batch != new.interface.batch),
        upgrade("interface.poll", *poll != new.interface.poll),
        can("underlay.source_v6", *source_v6 != new.underlay.source_v6),
        can("underlay.source_v4", *source_v4 != new.underlay.source_v4),
        can("underlay.mtu", *mtu != new.underlay.mtu),
        can("underlay.hop_limit", *hop_limit != new.underlay.hop_limit),
        can("underlay.dscp", *dscp != new.underlay.dscp),
        upgrade("underlay.next_hop", *next_hop != new.underlay.next_hop),
        cannot("hash.seed", *seed != new.seed),
        upgrade("handover.window", *window != new.handover.window),
        upgrade("handover.tracked_flows", *tracked_flows != new.handover.tracked_flows),
        cannot("control.socket", *socket != new.control.socket),
        can("control.mode", *mode != new.control.mode),
        can("control.group", *group != new.control.group),
        can("control.allow_users", *allow_users != new.control.allow_users),
        can("control.vip_allow", *vip_allow != new.control.vip_allow),
        can("announce.routes", *routes != new.announce.routes),
        can("announce.drain_time", *drain_time != new.announce.drain_time),
        cannot("metrics.listen", *metrics_listen != new.metrics_listen),
        can("[[service]]", *services != new.services),
    ]
}

/// Why a reload will not do for these changes, and what will.
fn more_than_a_reload(keys: &[Key]) -> Option<String> {
    let names = |takes| keys.iter().filter(|key| key.takes == takes).map(|key| key.name).collect::<Vec<_>>().join(", ");
    let said = |(takes, remedy): (Takes, &str)| {
        let names = names(takes);
        (!names.is_empty()).then(|| format!("{names} cannot change by a reload: {remedy}"))
    };
    let remedies = [
        (Takes::Upgrade, "`pointsman upgrade` does it, and loses nothing"),
        (Takes::Restart, "a restart does it, and loses tracked flows"),
    ];
    let said: Vec<String> = remedies.into_iter().filter_map(said).collect();
    (!said.is_empty()).then(|| said.join("; "))
}

impl Node {
    /// Reads the config again. Where nothing else stands in the way, `restrict` has the control socket follow it, and answers
    /// what undoes that. A refusal is logged, told and shown in `status`; the config stays as it was.
    pub fn reload<Undo: FnOnce()>(
        &mut self,
        restrict: impl FnOnce(&ControlConfig) -> Result<Undo, String>,
    ) -> Result<(), String> {
        let result = self.try_reload(restrict);
        match &result {
            Ok(changed) => {
                tracing::info!(?changed, "the config was read again");
                self.reload_problem = None;
                self.events.tell(Event::Reloaded { changed: changed.clone() });
            }
            Err(reason) => {
                let problem = format!("the config is not taken, and nothing has changed: {reason}");
                self.reload_problem = Some(problem.clone());
                self.events.fail(problem);
            }
        }
        result.map(drop)
    }

    fn try_reload<Undo: FnOnce()>(
        &mut self,
        restrict: impl FnOnce(&ControlConfig) -> Result<Undo, String>,
    ) -> Result<Vec<String>, String> {
        let Some(path) = &self.config_file else { return Err("this node has no config file".to_owned()) };
        let named = |problems: Problems| format!("{}: {problems}", path.display()).replace('\n', "; ");
        let config = config::load(path).map_err(named)?;
        let keys: Vec<Key> = keys(&self.config, &config).into_iter().filter(|key| key.differs).collect();
        if let Some(reason) = more_than_a_reload(&keys) {
            return Err(reason);
        }
        let Parted { joined, left_out } = self.check_config(&config, path)?;
        let routes = match (self.config.announce.routes, config.announce.routes) {
            (false, true) => Some(VipRoutes::open().map_err(|error| error.to_string())?),
            _ => None,
        };
        let undo = restrict(&config.control)?;
        if let Err(fault) = self.forward_by_config(config, joined) {
            undo();
            return Err(fault.message);
        }
        self.leave_out(left_out);
        self.keep_as_well();
        self.announcement.set_routes(self.config.announce.routes, routes);
        if let Some(name) = &self.config.node.name {
            self.facts.name.clone_from(name);
        }
        Ok(keys.into_iter().map(|key| key.name.to_owned()).collect())
    }

    /// What would be in force by a config of this path. What it has wrong in itself is not put down to the syncer's set. A
    /// config that would take a service out of force is refused: the syncer's set may be wrong as well as the config.
    fn check_config(&self, config: &Config, path: &Path) -> Result<Parted, String> {
        let path = path.display();
        let said = |refusal: Refusal| Problems::from(refusal).to_string().replace('\n', "; ");
        let alone = self.check_stored(config, &Proposal::whole(EndpointSet::default()));
        alone.map_err(|refusal| format!("{path}: {}", said(refusal)))?;
        let parted = self.part_by(config);
        match self.newly_left_out(&parted.left_out) {
            None => Ok(parted),
            Some(said) => Err(format!("{path} and the syncer's set, which `get` shows, do not go together: {said}")),
        }
    }

    /// What is said of those services that are in force and would be left out; none: all would stay.
    pub(super) fn newly_left_out(&self, left_out: &[LeftOut]) -> Option<String> {
        let known: HashSet<&str> = self.left_out.iter().map(|left| left.service.as_str()).collect();
        let new: Vec<String> = left_out
            .iter()
            .filter(|left| !known.contains(left.service.as_str()))
            .map(|LeftOut { service, reason }| format!("\"{service}\": {reason}"))
            .collect();
        let more = new.len().saturating_sub(MOST_NAMED);
        let mut said = new.iter().take(MOST_NAMED).map(String::as_str).collect::<Vec<_>>().join("; ");
        if more > 0 {
            said += &format!("; and {more} more services");
        }
        (!new.is_empty()).then_some(said)
    }

    /// Has workers forward by a config, and by what it makes of the set. Where they cannot, they forward as before.
    fn forward_by_config(&mut self, config: Config, joined: EndpointSet) -> Result<(), Fault> {
        let (before, settings) = (std::mem::replace(&mut self.config, config), *self.builder.settings());
        self.refresh_settings();
        self.resolve();
        self.put_in_force(joined).map(drop).inspect_err(|_| {
            // The paths to endpoints follow the settings, and workers have them from either.
            self.config = before;
            self.builder.set_settings(settings, self.publisher.edition());
            self.resolve();
            self.publish();
        })
    }

    /// Tells subscribers and the log of something that went wrong.
    pub fn fail(&mut self, message: String) {
        self.events.fail(message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an upgrade changes is in README and docs/upgrade.md, too.
    #[test]
    fn a_refused_key_names_what_changes_it_with_the_least_loss() {
        let config = |text: &str| config::parse(&format!("[interface]\nname = \"eth0\"\n{text}")).expect("valid");
        let said = |text: &str| {
            let differing = keys(&config(""), &config(text)).into_iter().filter(|key| key.differs);
            more_than_a_reload(&differing.collect::<Vec<_>>()).unwrap_or_default()
        };
        assert_eq!(said("[underlay]\nmtu = 1400\n"), "");
        let window = "handover.window cannot change by a reload: `pointsman upgrade` does it, and loses nothing";
        assert_eq!(said("[handover]\nwindow = \"5m\"\n"), window);
        let seed = "[hash]\nseed = \"0f0102030405060708090a0b0c0d0e0f\"\n";
        assert_eq!(said(seed), "hash.seed cannot change by a reload: a restart does it, and loses tracked flows");
        assert!(said(&format!("{seed}[handover]\nwindow = \"5m\"\n")).starts_with(&format!("{window}; hash.seed ")));
    }

    #[test]
    fn every_key_of_a_config_is_known_here() {
        let least = config::parse("[interface]\nname = \"eth1\"\npin = \"/sys/fs/bpf/elsewhere\"\n").expect("valid");
        let most = config::parse(include_str!("../../config/every-key.toml")).expect("valid");
        let same: Vec<&str> = keys(&least, &most).iter().filter(|key| !key.differs).map(|key| key.name).collect();
        assert_eq!(same, Vec::<&str>::new(), "that file changes every key");
        assert!(keys(&most, &most).iter().all(|key| !key.differs));
    }
}
