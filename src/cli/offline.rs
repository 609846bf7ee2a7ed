//! A node without a network, for `replay` and the offline `lookup`.

use anyhow::{Result, anyhow, bail};

use pointsman::config::{self, Config};
use pointsman::control::set::join;
use pointsman::control::update::Builder;
use pointsman::document::Problems;
use pointsman::forward::encap::Sources;
use pointsman::model::EndpointSet;
use pointsman::publish::{Publication, Publisher};
use pointsman::snapshot::{NextHop, Settings, Tag};

/// A node without a network.
pub struct OfflineNode {
    config: Config,
    /// Builds its snapshots.
    pub builder: Builder,
    /// Reaches its workers, if it has any.
    pub publisher: Publisher,
    next_hop: NextHop,
}

impl OfflineNode {
    /// A node by this config, which must say what there is no network to ask.
    pub fn new(config: Config) -> Result<Self> {
        let underlay = &config.underlay;
        let sources = Sources { v4: underlay.source_v4, v6: underlay.source_v6 };
        if sources == Sources::default() {
            bail!("there is no interface to ask: set underlay.source_v6, underlay.source_v4 or both");
        }
        let destination = underlay
            .next_hop
            .ok_or_else(|| anyhow!("there is no network to ask: set underlay.next_hop to a MAC address"))?;
        let settings = Settings {
            seed: config.seed,
            dscp: underlay.dscp,
            underlay_mtu: underlay.mtu.unwrap_or(config::DEFAULT_MTU),
            hop_limit: underlay.hop_limit,
        };
        let source = config.interface.mac.unwrap_or(config::DEFAULT_MAC);
        let next_hop = NextHop { destination, source, tag: Tag::AsReceived };
        Ok(Self { config, builder: Builder::new(settings, sources, 1), publisher: Publisher::new()?, next_hop })
    }

    /// The publications by this set, for as many workers as there are.
    pub fn build(&mut self, set: &EndpointSet) -> Result<Vec<Publication>> {
        let joined = join(&self.config, set).map_err(|refusal| anyhow!("{}", Problems::from(refusal)))?;
        self.builder.update(&joined, (self.publisher.edition(), self.publisher.adopted()));
        self.builder.resolve(|_| Some(self.next_hop));
        Ok(self.builder.publish())
    }
}
