//! A node without a network, for `replay` and the offline `lookup`.

use std::collections::BTreeSet;

use anyhow::{Result, anyhow, bail};

use pointsman::config::Config;
use pointsman::control::proposal::Proposal;
use pointsman::control::reach::{self, Surroundings};
use pointsman::control::set::{Refusal, join};
use pointsman::control::settings::settings;
use pointsman::control::update::Builder;
use pointsman::document::Problems;
use pointsman::forward::Flows;
use pointsman::model::EndpointSet;
use pointsman::moment::{Moment, Now, SECOND, Second};
use pointsman::publish::{Publication, Publisher};
use pointsman::snapshot::{NextHop, Settings, Tag};

/// What would be in force by this config and set, as far as it can be checked without the node: an unknown MTU is taken
/// to be the usual one.
pub fn join_checked(config: &Config, proposal: &Proposal) -> Result<EndpointSet, Refusal> {
    let joined = join(config, proposal)?;
    let Settings { sources, underlay_mtu, .. } = settings(config, None);
    let surroundings = Surroundings { sources, addresses: BTreeSet::new(), underlay_mtu };
    reach::check(config, proposal, &joined, &EndpointSet::default(), &surroundings)?;
    Ok(joined)
}

/// The second of a moment that is counted from 1970, as a capture's are.
fn second(moment: Moment) -> Now {
    Now::at(Second::try_from(moment.0 / SECOND).unwrap_or(Second::MAX))
}

/// A node without a network.
pub struct OfflineNode {
    config: Config,
    /// Builds its snapshots.
    pub builder: Builder,
    /// Reaches its workers, if it has any.
    pub publisher: Publisher,
    next_hop: Option<NextHop>,
}

impl OfflineNode {
    /// A node by this config. What it does not say of the network is unknown: such packets have no way out.
    pub fn new(config: Config) -> Result<Self> {
        let underlay = &config.underlay;
        let settings = settings(&config, None);
        let source = settings.mac;
        let next_hop = underlay.next_hop.map(|destination| NextHop { destination, source, tag: Tag::AsReceived });
        let builder = Builder::new(settings, config.handover.window_seconds(), 1);
        Ok(Self { config, builder, publisher: Publisher::new()?, next_hop })
    }

    /// Refuses a config that leaves the network unknown.
    pub fn require_network(&self) -> Result<()> {
        let underlay = &self.config.underlay;
        if underlay.source_v4.is_none() && underlay.source_v6.is_none() {
            bail!("there is no interface to ask: set underlay.source_v6, underlay.source_v4 or both");
        }
        if self.next_hop.is_none() {
            bail!("there is no network to ask: set underlay.next_hop to a MAC address");
        }
        Ok(())
    }

    /// The publications by this set, for as many workers as there are.
    pub fn build(&mut self, set: &EndpointSet, now: Moment) -> Result<Vec<Publication>> {
        let joined = join_checked(&self.config, &Proposal::whole(set.clone()))
            .map_err(|refusal| anyhow!("{}", Problems::from(refusal)))?;
        self.builder.update(&joined, (self.publisher.edition(), self.publisher.forgotten()), second(now));
        self.builder.resolve(|_| self.next_hop);
        Ok(self.builder.publish())
    }

    /// Has the workers know of other ways than before.
    pub fn resolve(&mut self) {
        if self.builder.resolve(|_| self.next_hop) {
            self.publish();
        }
    }

    /// What a moment's passing brings: routers and slots are believed for so long only.
    pub fn tick(&mut self, now: Moment) {
        if self.builder.forget_old_mtus(now) {
            self.resolve();
        }
        let settled = self.publisher.adopted() == self.publisher.edition();
        if self.builder.forget_old_memories(second(now), settled) {
            self.publish();
        }
    }

    fn publish(&mut self) {
        let publications = self.builder.publish();
        self.publisher.post(publications);
        self.publisher.sweep();
    }

    /// Memory for its workers.
    pub fn flows(&self) -> Flows {
        let handover = &self.config.handover;
        Flows::new(handover.tracked_flows as usize, handover.window_seconds())
    }
}
