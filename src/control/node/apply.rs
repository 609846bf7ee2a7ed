//! How a set comes into force: checked whole, then at every worker, then let in and announced, then on disk.

use std::collections::{BTreeSet, HashSet};
use std::time::Duration;

use ipnet::IpNet;
use serde_json::{Value, json};

use super::{Node, Reply, Ways};
use crate::config::Config;
use crate::control::advice::advice;
use crate::control::breaks;
use crate::control::event::{Event, differences};
use crate::control::left_out::{LeftOut, Parted, part, without};
use crate::control::limits::{self, MOST_WARNINGS};
use crate::control::proposal::{Patch, Proposal};
use crate::control::protocol::Fault;
use crate::control::reach::{self, Surroundings};
use crate::control::set::{Refusal, check_emptied, check_vips, join};
use crate::control::store::Kept;
use crate::document::Tree;
use crate::endpoint_set;
use crate::model::EndpointSet;
use crate::underlay;

/// How long workers may take to forward by a new snapshot. They look once a batch; a second is for ever.
const ADOPTION_LIMIT: Duration = Duration::from_secs(5);
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
        let Kept { set, mut memories, seed, problems } = self.disk.load();
        problems.into_iter().for_each(|problem| self.note_store_problem(problem));
        // What the config itself has wrong is no reason to refuse what a syncer has pushed: it is said, and nothing starts.
        _ = self.check_stored(&self.config, &Proposal::whole(EndpointSet::default()))?;
        self.set = Proposal::whole(set).set;
        let Parted { joined, left_out } = self.part_by(&self.config);
        self.leave_out(left_out);
        // What is not forwarded has no history here.
        let names: HashSet<&str> = joined.services.iter().map(|service| service.name.as_str()).collect();
        memories.retain(|name, _| names.contains(name.as_str()));
        // Slots are parts of all hashes, which another seed makes others.
        let other_seed = self.other_seed_before(seed);
        if other_seed.is_some() {
            memories.clear();
        }
        self.builder.restore_slot_memories(memories, self.clock.now());
        self.put_in_force(joined)?;
        self.builder.set_restored(true);
        if let Some(before) = other_seed.filter(|_| !self.in_force.services.is_empty()) {
            self.tell_other_seed(&before);
            self.keep_as_well();
        }
        Ok(())
    }

    /// What would be in force of the syncer's set by this config, and what would not.
    pub(super) fn part_by(&self, config: &Config) -> Parted {
        part(config, &self.set, &self.stored_surroundings(config))
    }

    /// From now on these services of the syncer's are not in force; those that were not before are said.
    pub(super) fn leave_out(&mut self, left_out: Vec<LeftOut>) {
        let before = std::mem::replace(&mut self.left_out, left_out);
        let known: HashSet<&LeftOut> = before.iter().collect();
        for left in self.left_out.iter().filter(|left| !known.contains(left)) {
            self.events.fail(left.to_string());
        }
        let now: HashSet<&str> = self.left_out.iter().map(|left| left.service.as_str()).collect();
        let back = before.iter().filter(|left| !now.contains(left.service.as_str()));
        back.for_each(|left| tracing::info!(service = left.service, "is not left out any more"));
    }

    /// What would be in force by this config and a set which was in force before: a node that has got the address of an
    /// endpoint since must not lose all the others.
    pub(super) fn check_stored(&self, config: &Config, set: &Proposal) -> Result<EndpointSet, Refusal> {
        check_vips(config, set)?;
        let joined = join(config, set)?;
        reach::check(config, set, &joined, &set.set, &self.stored_surroundings(config))?;
        Ok(joined)
    }

    /// What a set that was in force before is held against.
    fn stored_surroundings(&self, config: &Config) -> Surroundings {
        let sources = self.settings_by(config).sources;
        Surroundings { addresses: BTreeSet::new(), sources, configured_mtu: config.underlay.mtu }
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
        let left_out = self.still_left_out(&proposal);
        let joined = without(join(&self.config, &proposal)?, &left_out);
        reach::check(&self.config, &proposal, &joined, &self.in_force, &self.surroundings())?;
        if manner.dry_run {
            return Ok(Reply::at_once(self.would_change(&proposal, &joined, &left_out)));
        }
        let breaks = limited(breaks::warnings(&self.in_force, &joined));
        let changed = self.put_in_force(joined)?;
        self.builder.set_restored(false);
        let mut warnings = self.warnings(&proposal, &self.in_force, &left_out);
        self.leave_out(left_out);
        self.set = proposal.set;
        breaks.iter().for_each(|warning| tracing::warn!("{warning}"));
        warnings.splice(0..0, breaks);
        warnings.extend(self.announcement.problem().map(str::to_owned));
        let until = Some(self.keep(proposal.patch));
        Ok(Reply { answer: self.tell_applied(changed, &warnings), until })
    }

    /// The services that are left out also by a proposal: which does not name them, and so does not mend them.
    fn still_left_out(&self, proposal: &Proposal) -> Vec<LeftOut> {
        let Some(patch) = &proposal.patch else { return Vec::new() };
        if self.left_out.is_empty() {
            return Vec::new();
        }
        let named: HashSet<&str> = patch.names().map(String::as_str).collect();
        self.left_out.iter().filter(|left| !named.contains(left.service.as_str())).cloned().collect()
    }

    /// What its syncer is to look at in a proposal.
    fn warnings(&self, proposal: &Proposal, joined: &EndpointSet, left_out: &[LeftOut]) -> Vec<String> {
        let mut warnings = limits::warnings(joined, self.builder.settings());
        warnings.extend(advice(proposal.named.iter(), &underlay::subnet_addresses()));
        warnings.extend(left_out.iter().take(MOST_WARNINGS).map(ToString::to_string));
        warnings
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
    fn would_change(&self, proposal: &Proposal, joined: &EndpointSet, left_out: &[LeftOut]) -> Value {
        let set = &proposal.set;
        let mut warnings = limited(breaks::warnings(&self.in_force, joined));
        warnings.extend(self.warnings(proposal, joined, left_out));
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
        let sources = self.builder.settings().sources;
        Surroundings { sources, addresses: underlay::own_addresses(), configured_mtu: self.config.underlay.mtu }
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
