//! The config, read again while the node runs: what can change without a restart does, all of it or nothing.

use std::path::Path;

use super::Node;
use crate::config::{self, AnnounceConfig, Config, ControlConfig, HandoverConfig, NodeConfig, UnderlayConfig};
use crate::control::event::Event;
use crate::control::proposal::Proposal;
use crate::control::protocol::Fault;
use crate::control::set::Refusal;
use crate::document::Problems;
use crate::model::EndpointSet;
use crate::underlay::announce::VipRoutes;

/// One key: whether it differs, and whether a running node can follow.
struct Key {
    name: &'static str,
    differs: bool,
    can_change: bool,
}

/// Every key of two configs. All fields are named here, so that none is forgotten.
fn keys(old: &Config, new: &Config) -> Vec<Key> {
    let Config { node, interface, underlay, seed, handover, control, announce, metrics_listen, services } = old;
    let NodeConfig { name, state_dir } = node;
    let UnderlayConfig { source_v6, source_v4, mtu, hop_limit, dscp, next_hop } = underlay;
    let HandoverConfig { window, tracked_flows } = handover;
    let ControlConfig { socket, mode, group, allow_users, vip_allow } = control;
    let AnnounceConfig { routes, drain_time } = announce;
    let can = |name, differs| Key { name, differs, can_change: true };
    let cannot = |name, differs| Key { name, differs, can_change: false };
    vec![
        can("node.name", *name != new.node.name),
        cannot("node.state_dir", *state_dir != new.node.state_dir),
        cannot("[interface]", *interface != new.interface),
        can("underlay.source_v6", *source_v6 != new.underlay.source_v6),
        can("underlay.source_v4", *source_v4 != new.underlay.source_v4),
        can("underlay.mtu", *mtu != new.underlay.mtu),
        can("underlay.hop_limit", *hop_limit != new.underlay.hop_limit),
        can("underlay.dscp", *dscp != new.underlay.dscp),
        cannot("underlay.next_hop", *next_hop != new.underlay.next_hop),
        cannot("hash.seed", *seed != new.seed),
        cannot("handover.window", *window != new.handover.window),
        cannot("handover.tracked_flows", *tracked_flows != new.handover.tracked_flows),
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
        let stuck: Vec<&str> = keys.iter().filter(|key| !key.can_change).map(|key| key.name).collect();
        if !stuck.is_empty() {
            return Err(format!("{} cannot change while the node runs: restart it", stuck.join(", ")));
        }
        let joined = self.check_config(&config, path)?;
        let routes = match (self.config.announce.routes, config.announce.routes) {
            (false, true) => Some(VipRoutes::open().map_err(|error| error.to_string())?),
            _ => None,
        };
        let undo = restrict(&config.control)?;
        if let Err(fault) = self.forward_by_config(config, joined) {
            undo();
            return Err(fault.message);
        }
        self.keep_as_well();
        self.announcement.set_routes(self.config.announce.routes, routes);
        if let Some(name) = &self.config.node.name {
            self.facts.name.clone_from(name);
        }
        Ok(keys.into_iter().map(|key| key.name.to_owned()).collect())
    }

    /// What would be in force by a config of this path. What it has wrong in itself is not put down to the syncer's set.
    fn check_config(&self, config: &Config, path: &Path) -> Result<EndpointSet, String> {
        let path = path.display();
        let said = |refusal: Refusal| Problems::from(refusal).to_string().replace('\n', "; ");
        let alone = self.check_stored(config, &Proposal::whole(EndpointSet::default()));
        alone.map_err(|refusal| format!("{path}: {}", said(refusal)))?;
        self.check_stored(config, &Proposal::whole(self.set.clone())).map_err(|refusal| {
            let said = said(refusal);
            format!("{path} and the syncer's set, whose services[…] `get` shows, do not go together: {said}")
        })
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

    #[test]
    fn every_key_of_a_config_is_known_here() {
        let least = config::parse("[interface]\nname = \"eth0\"\n").expect("valid");
        let most = config::parse(include_str!("../../config/every-key.toml")).expect("valid");
        let same: Vec<&str> = keys(&least, &most).iter().filter(|key| !key.differs).map(|key| key.name).collect();
        assert_eq!(same, Vec::<&str>::new(), "that file changes every key");
        assert!(keys(&most, &most).iter().all(|key| !key.differs));
    }
}
