//! What changes around the node while it runs: routes, neighbours, the interface, and what routers say.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::{Node, Ways};
use crate::config::Config;
use crate::control::settings::settings;
use crate::moment::Moment;
use crate::snapshot::{NextHop, Settings};
use crate::underlay::path_mtu::{self, IcmpSocket};
use crate::underlay::{Changes, Underlay, UnderlayError};
use crate::wire::ethernet::MacAddress;

/// Messages of routers that are read at once, so that a flood of them keeps nobody from being heard.
const MOST_MESSAGES: usize = 1_024;

impl Node {
    /// Finds the way to every endpoint; answers whether any is another than before.
    pub(super) fn resolve(&mut self) -> bool {
        let next_hop = next_hop(&self.ways, self.config.interface.mac);
        self.builder.resolve(next_hop)
    }

    /// The same for those alone that have just come.
    pub(super) fn resolve_new(&mut self, come: &BTreeSet<IpAddr>) {
        let next_hop = next_hop(&self.ways, self.config.interface.mac);
        self.builder.resolve_new(come, next_hop);
    }

    /// Has workers forward by what the builder has now.
    pub(super) fn publish(&mut self) {
        let mut publications = self.builder.publish();
        if let Some(capture) = &mut self.capture {
            capture.follow(self.builder.services());
            publications.iter_mut().enumerate().for_each(|(worker, to)| to.tap = capture.tap(worker));
        }
        self.counters.show(self.builder.scene());
        self.publisher.post(publications);
    }

    /// The kernel's descriptor that is readable when routes or neighbours have changed.
    pub fn underlay(&self) -> Option<&Underlay> {
        match &self.ways {
            Ways::Fixed(_, underlay) => underlay.as_deref(),
            Ways::Kernel(underlay) => Some(underlay),
        }
    }

    /// Routes or neighbours have changed.
    pub fn on_underlay_readable(&mut self) {
        self.follow(|underlay| underlay.on_readable());
    }

    /// Where routers on the way to endpoints are heard, if anywhere.
    pub fn routers(&self) -> Option<&IcmpSocket> {
        self.routers.as_ref()
    }

    /// Routers have said something of outer packets that were too big for them.
    pub fn on_routers_readable(&mut self) {
        let (now, sources) = (self.now(), self.builder.settings().sources);
        let Some(routers) = &mut self.routers else { return };
        let mut lowered = false;
        for _ in 0..MOST_MESSAGES {
            match routers.next_message() {
                Ok(Some((family, message))) => {
                    let Some(said) = path_mtu::read(message, family, &sources) else { continue };
                    if self.builder.lower_mtu(said, now) {
                        tracing::info!(endpoint = %said.endpoint, mtu = said.mtu, "a router has lowered the MTU");
                        lowered = true;
                    }
                }
                Ok(None) => break,
                Err(error) => {
                    self.events.fail(format!("routers cannot be heard: {error}"));
                    break;
                }
            }
        }
        if lowered && self.resolve() {
            self.publish();
        }
    }

    pub(super) fn now(&self) -> Moment {
        Moment(u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX))
    }

    /// Called about once a second: keeps next hops fresh, frees what nobody reads any more.
    pub fn tick(&mut self) {
        self.counters.collect();
        self.follow(|underlay| underlay.tick());
        self.announcement.tick();
        self.keep_again();
        self.on_routers_readable();
        let ways_changed = self.builder.forget_old_mtus(self.now()) && self.resolve();
        let settled = self.publisher.adopted() == self.publisher.edition();
        if self.builder.forget_old_memories(self.clock.now(), settled) || ways_changed {
            self.publish();
        }
        self.keep_after_step();
        self.leaving.look(&self.builder, |event| self.events.tell(event));
        self.publisher.sweep();
    }

    fn follow(&mut self, look: impl Fn(&mut Underlay) -> Result<Changes, UnderlayError>) {
        let (Ways::Kernel(underlay) | Ways::Fixed(_, Some(underlay))) = &mut self.ways else { return };
        let changes = match look(underlay) {
            Ok(changes) => changes,
            Err(error) => {
                self.events.fail(format!("next hops are not followed: {error}"));
                return;
            }
        };
        let settings_changed = self.refresh_settings();
        // The settings have the MTU too, so it is news even where no way to an endpoint has it.
        // With a static next hop, the interface's own address is all that changes.
        let ways_changed = (changes.any() || settings_changed) && self.resolve();
        if ways_changed || settings_changed {
            self.publish();
        }
    }

    /// Takes over what the config and the interface say of all services; answers whether that is anything new.
    pub(super) fn refresh_settings(&mut self) -> bool {
        let now = self.settings_by(&self.config);
        let is_new = now != *self.builder.settings();
        if is_new {
            self.builder.set_settings(now, self.publisher.edition());
        }
        is_new
    }

    /// What a config and the interface say of all services. What nobody says stays as it is: outer sources that the
    /// interface has lost it is most often about to get back.
    pub(super) fn settings_by(&self, config: &Config) -> Settings {
        let (link, before) = (self.underlay().map(Underlay::link), self.builder.settings());
        let now = settings(config, link);
        let knows_mtu = link.is_some() || config.underlay.mtu.is_some();
        let underlay_mtu = if knows_mtu { now.underlay_mtu } else { before.underlay_mtu };
        Settings { sources: now.sources.or(&before.sources), underlay_mtu, ..now }
    }
}

/// How the next hop on the way to an endpoint is found; `own`: the config's address for the interface.
fn next_hop(ways: &Ways, own: Option<MacAddress>) -> impl Fn(IpAddr) -> Option<NextHop> + '_ {
    move |address| match ways {
        Ways::Fixed(next_hop, link) => {
            let source = own.or(link.as_ref().map(|underlay| underlay.link().mac)).unwrap_or(next_hop.source);
            Some(NextHop { source, ..*next_hop })
        }
        Ways::Kernel(underlay) => {
            let hop = underlay.next_hop(address).ok()?;
            Some(NextHop { source: own.unwrap_or(hop.source), ..hop })
        }
    }
}
