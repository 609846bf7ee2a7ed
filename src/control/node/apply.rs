//! How a set comes into force: checked whole, then at every worker, then let in and announced, then on disk.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Node, Reply, Ways};
use crate::config::Config;
use crate::control::breaks;
use crate::control::event::{Event, differences};
use crate::control::proposal::{Patch, Proposal};
use crate::control::protocol::Fault;
use crate::control::reach::{self, Surroundings};
use crate::control::set::{Refusal, check_emptied, check_vips, join};
use crate::control::store::Kept;
use crate::document::{Problems, Tree};
use crate::endpoint_set;
use crate::forward::encap::Sources;
use crate::model::EndpointSet;
use crate::snapshot::Settings;
use crate::underlay;

/// How long workers may take to forward by a new snapshot. They look once a batch; a second is for ever.
const ADOPTION_LIMIT: Duration = Duration::from_secs(5);
/// Warnings of one answer; a set with more is broken as a whole.
const MOST_WARNINGS: usize = 20;
/// Differences shown of a set that is only tried; the numbers say the rest.
const MOST_DIFFERENCES: usize = 10_000;

/// How an update is meant, beside what it says.
#[derive(Clone, Copy, Debug, Default)]
struct Manner {
    /// Services may lose all their endpoints.
    allow_empty: bool,
    /// Everything is checked, and nothing changes.
    dry_run: bool,
}

impl Manner {
    /// Takes it out of the parameters.
    fn take(params: &mut Tree<'_>) -> Result<Self, Fault> {
        Ok(Self { allow_empty: take_flag(params, "allow_empty")?, dry_run: take_flag(params, "dry_run")? })
    }
}

fn take_flag(params: &mut Tree<'_>, key: &str) -> Result<bool, Fault> {
    match params.remove(key) {
        None | Some(Tree::Null) => Ok(false),
        Some(Tree::Bool(flag)) => Ok(flag),
        Some(other) => Err(Fault::invalid_param(key, format!("{} is not true or false", other.to_value()))),
    }
}

impl Node {
    /// Takes the config's services and the set on disk into force, before any syncer comes. A stored set that cannot
    /// be used is said and left; what the config has is served all the same.
    pub fn restore(&mut self) -> Result<(), Fault> {
        let Kept { set, mut memories, problems } = self.disk.load();
        problems.into_iter().for_each(|problem| self.note_store_problem(problem));
        // What the config itself has wrong is no reason to refuse what a syncer has pushed: it is said, and nothing starts.
        let empty = Proposal::whole(EndpointSet::default());
        let own = self.check_stored(&self.config, &empty)?;
        let stored = Proposal::whole(set);
        let (proposal, joined) = match self.check_stored(&self.config, &stored) {
            Ok(joined) => (stored, joined),
            Err(refusal) => {
                self.note_store_problem(format!("the set on disk is not used: {}", Problems::from(refusal)));
                (empty, own)
            }
        };
        // What belongs to a set that is not used is no history of the next one.
        let names: HashSet<&str> = joined.services.iter().map(|service| service.name.as_str()).collect();
        memories.retain(|name, _| names.contains(name.as_str()));
        // Slots are parts of all hashes, which another seed makes others.
        let other_seed = self.other_seed_before();
        if other_seed.is_some() {
            memories.clear();
        }
        self.builder.restore_slot_memories(memories, self.clock.now());
        self.put_in_force(joined)?;
        self.builder.set_restored(true);
        self.set = proposal.set;
        if let Some(before) = other_seed.filter(|_| !self.in_force.services.is_empty()) {
            self.tell_other_seed(&before);
            self.keep_as_well();
        }
        Ok(())
    }

    /// What would be in force by this config and a set which was in force before: a node that has got the address of an
    /// endpoint since must not lose all the others.
    pub(super) fn check_stored(&self, config: &Config, set: &Proposal) -> Result<EndpointSet, Refusal> {
        check_vips(config, set)?;
        let joined = join(config, set)?;
        let Settings { sources, underlay_mtu, .. } = self.settings_by(config);
        let surroundings = Surroundings { addresses: BTreeSet::new(), sources, underlay_mtu };
        reach::check(config, set, &joined, &EndpointSet::default(), &surroundings)?;
        Ok(joined)
    }

    /// The whole set, atomically: refused whole, or in force at every worker and on disk before the answer.
    pub(super) fn apply(&mut self, mut params: Tree<'_>) -> Result<Reply, Fault> {
        let manner = Manner::take(&mut params)?;
        let set = endpoint_set::read(&params).map_err(Fault::invalid_set)?.sharing(&self.set);
        // It may be large, and what is built of it is, too.
        drop(params);
        self.take(Proposal::whole(set), manner)
    }

    /// Some services of the set, as [`apply`](Self::apply) takes all of them.
    pub(super) fn patch(&mut self, mut params: Tree<'_>) -> Result<Reply, Fault> {
        let manner = Manner::take(&mut params)?;
        let patch = Patch::read(&params).map_err(Fault::invalid_set)?;
        if patch.base != self.set.revision {
            return Err(Fault::stale_base(&patch.base, &self.set.revision));
        }
        self.take(patch.of(&self.set).map_err(Fault::invalid_set)?, manner)
    }

    fn take(&mut self, proposal: Proposal, manner: Manner) -> Result<Reply, Fault> {
        check_vips(&self.config, &proposal)?;
        if !manner.allow_empty {
            check_emptied(&self.set, &proposal)?;
        }
        let joined = join(&self.config, &proposal)?;
        reach::check(&self.config, &proposal, &joined, &self.in_force, &self.surroundings())?;
        if manner.dry_run {
            return Ok(Reply::at_once(self.would_change(&proposal.set, &joined)));
        }
        let breaks = limited(breaks::warnings(&self.in_force, &joined));
        let changed = self.put_in_force(joined)?;
        self.builder.set_restored(false);
        self.set = proposal.set;
        breaks.iter().for_each(|warning| tracing::warn!("{warning}"));
        let mut warnings = breaks;
        warnings.extend(unsendable(&self.in_force, &self.builder.settings().sources));
        warnings.extend(self.announcement.problem().map(str::to_owned));
        let until = Some(self.keep(proposal.patch));
        Ok(Reply { answer: self.tell_applied(changed, &warnings), until })
    }

    /// Says everywhere that a set is in force, and answers what its syncer is answered.
    fn tell_applied(&mut self, changed: usize, warnings: &[String]) -> Value {
        let (revision, generation) = (self.set.revision.clone(), self.builder.generation());
        let (services, endpoints) = (self.set.services.len(), self.set.endpoint_count());
        tracing::info!(revision = revision.0, generation = generation.0, services, endpoints, changed, "applied");
        let answer = json!({
            "revision": revision,
            "generation": generation,
            "services": services,
            "endpoints": endpoints,
            "changed": changed,
            "warnings": warnings,
        });
        self.events.tell(Event::Applied { revision, generation, services, endpoints, changed });
        answer
    }

    /// The answer to an update that is only tried.
    fn would_change(&self, set: &EndpointSet, joined: &EndpointSet) -> Value {
        let mut warnings = limited(breaks::warnings(&self.in_force, joined));
        warnings.extend(unsendable(joined, &self.builder.settings().sources));
        let mut shown = Vec::new();
        let mut all = 0;
        differences(&self.in_force, joined, |event| {
            all += 1;
            shown.extend((shown.len() < MOST_DIFFERENCES).then_some(event));
        });
        json!({
            "dry_run": true,
            "revision": self.set.revision,
            "generation": self.builder.generation(),
            "services": set.services.len(),
            "endpoints": set.endpoint_count(),
            "changes": shown,
            "more_changes": all - shown.len(),
            "warnings": warnings,
        })
    }

    fn surroundings(&self) -> Surroundings {
        let Settings { sources, underlay_mtu, .. } = *self.builder.settings();
        Surroundings { sources, addresses: underlay::own_addresses(), underlay_mtu }
    }

    /// Builds, publishes, waits for every worker, then opens the gate and announces. Answers how many services have
    /// changed. Where that fails, what was in force before is so again.
    pub(super) fn put_in_force(&mut self, joined: EndpointSet) -> Result<usize, Fault> {
        let before = std::mem::take(&mut self.in_force);
        let changed = match self.forward_by(&before, &joined) {
            Ok(changed) => changed,
            Err(mut fault) => {
                self.publish_set(&before);
                if let Err(reason) = self.let_in(&joined, &before) {
                    fault.message += &format!("; nor are those of before: {reason}");
                }
                self.in_force = before;
                return Err(fault);
            }
        };
        if self.events.is_heard() {
            differences(&before, &joined, |event| self.events.tell(event));
        }
        self.announcement.follow(&joined);
        self.in_force = joined;
        Ok(changed)
    }

    /// Has every worker forward by a set, and lets its VIPs in. Answers how many services that changes.
    fn forward_by(&mut self, before: &EndpointSet, joined: &EndpointSet) -> Result<usize, Fault> {
        let changed = self.publish_set(joined);
        if !self.publisher.wait_adopted(ADOPTION_LIMIT) {
            return Err(Fault::internal(format!("a worker did not take the set within {ADOPTION_LIMIT:?}")));
        }
        self.publisher.sweep();
        self.let_in(before, joined).map_err(|reason| Fault::internal(format!("VIPs are not let in: {reason}")))?;
        Ok(changed)
    }

    /// Lets in the VIPs of a set, unless they are those of the set before, which are let in.
    fn let_in(&mut self, before: &EndpointSet, joined: &EndpointSet) -> Result<(), String> {
        let vips = |set: &EndpointSet| -> BTreeSet<IpNet> { set.services.iter().map(|service| service.vip).collect() };
        let all_stay = before.services.iter().map(|s| s.vip).eq(joined.services.iter().map(|s| s.vip));
        if !(all_stay && self.gate_holds) {
            self.gate_holds = false;
            self.gate.set_vips(&vips(joined))?;
            self.gate_holds = true;
        }
        Ok(())
    }

    /// Builds a set, and posts it to every worker. Answers how many services that changes.
    fn publish_set(&mut self, joined: &EndpointSet) -> usize {
        let changed =
            self.builder.update(joined, (self.publisher.edition(), self.publisher.forgotten()), self.clock.now());
        self.follow_ways();
        self.publish();
        changed
    }

    /// Finds the ways to endpoints that have come, and lets those be that have gone.
    pub(super) fn follow_ways(&mut self) {
        let (come, gone) = self.builder.take_moves();
        if let Ways::Kernel(underlay) = &mut self.ways
            && let Err(error) = underlay.change_targets(&come, &gone)
        {
            self.events.fail(format!("next hops are not followed: {error}"));
        }
        self.resolve_new(&come);
    }
}

/// The first warnings, and how many there are more.
fn limited(mut warnings: Vec<String>) -> Vec<String> {
    let more = warnings.len().saturating_sub(MOST_WARNINGS);
    warnings.truncate(MOST_WARNINGS);
    warnings.extend((more > 0).then(|| format!("and {more} more warnings of that kind")));
    warnings
}

/// A sentence for each endpoint, up to some, that nothing can be sent to.
fn unsendable(set: &EndpointSet, sources: &Sources) -> Vec<String> {
    if sources.v4.is_some() && sources.v6.is_some() {
        return Vec::new();
    }
    let has_source = |address: &IpAddr| if address.is_ipv4() { sources.v4.is_some() } else { sources.v6.is_some() };
    let all = set.services.iter().flat_map(|service| service.endpoints.iter().map(move |endpoint| (service, endpoint)));
    let without = all.filter(|(_, endpoint)| !has_source(&endpoint.address)).map(|(service, endpoint)| {
        let (service, name) = (&service.name, &endpoint.name);
        format!(
            "{service}: {name} ({}) cannot be sent to: the node has no outer source address of its family",
            endpoint.address
        )
    });
    without.take(MOST_WARNINGS).collect()
}
