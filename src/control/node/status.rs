//! How a node is: counters, workers, services.

use std::net::IpAddr;

use serde_json::{Map, Value, json};

use super::{Node, Ways, wants};
use crate::control::protocol::Fault;
use crate::document::Tree;
use crate::handover::Memories;
use crate::model::{State, VipText};
use crate::snapshot::{EndpointEntry, ServiceEntry};

impl Node {
    /// How the node is, and its services unless they are not wanted.
    pub(super) fn status(&self, params: &Tree<'_>) -> Result<Value, Fault> {
        let mut status = self.own_status();
        if wants(params, "services")? {
            let services = self.builder.services().iter().map(|entry| self.service_status(entry));
            status["services"] = services.collect();
        }
        Ok(status)
    }

    fn own_status(&self) -> Value {
        let workers = self.workers.iter().enumerate().map(|(number, worker)| {
            json!({ "worker": number, "queue": worker.queue, "core": worker.core, "zero_copy": worker.zero_copy })
        });
        json!({
            "node": self.facts.name,
            "version": env!("CARGO_PKG_VERSION"),
            "process": std::process::id(),
            "uptime": self.started.elapsed().as_secs(),
            "revision": self.set.revision,
            "generation": self.builder.generation(),
            "draining": self.announcement.is_draining(),
            "announced": self.announcement.vips(),
            "announce_problem": self.announcement.problem(),
            "interface": self.config.interface.name,
            "interface_up": self.underlay().is_none_or(|underlay| underlay.link().up),
            "interface_problem": self.interface_problem,
            "driver": self.facts.driver,
            "mode": self.facts.mode,
            "queues": self.workers.iter().filter_map(|worker| worker.queue).collect::<Vec<_>>(),
            "workers": workers.collect::<Vec<_>>(),
            "underlay_mtu": self.builder.settings().underlay_mtu,
            "hash_seed_fingerprint": self.config.seed.fingerprint(),
            "seed_problem": self.seed_problem(),
            "store_problem": self.disk_problem(),
            "reload_problem": self.reload_problem,
        })
    }

    fn service_status(&self, entry: &ServiceEntry) -> Value {
        let service = &entry.service;
        let count = |state| service.endpoints.iter().filter(|endpoint| endpoint.effective_state() == state).count();
        let inner_mtu = entry.endpoints.iter().filter_map(|endpoint| self.inner_mtu(endpoint)).min();
        let headers = if service.vip.addr().is_ipv4() { 40 } else { 60 };
        json!({
            "name": service.name,
            "vip": VipText(&service.vip).to_string(),
            "protocol": service.protocol,
            "ports": service.ports,
            "endpoints": {
                "active": count(State::Active),
                "draining": count(State::Draining),
                "down": count(State::Down),
            },
            "unreachable": self.unreachable(entry),
            "table_size": entry.table.size(),
            "fingerprint": entry.fingerprint,
            "handover": self.handover(entry),
            "lowered_mtu": self.lowered_mtus(entry),
            "inner_mtu": inner_mtu,
            "mss": inner_mtu.map(|mtu| mtu.saturating_sub(headers)),
        })
    }

    /// What is left of a service's handovers: slots that remember, and tracked flows, by endpoint too, so that a syncer
    /// knows when one that drains can be removed without a loss. Nothing where none is open.
    fn handover(&self, entry: &ServiceEntry) -> Value {
        if entry.handover.is_none() {
            return Value::Null;
        }
        let memories = self.builder.slot_memories().of(&entry.service.name);
        let endpoints = entry.service.endpoints.iter().zip(entry.endpoints.iter());
        let tracked = endpoints.map(|(endpoint, ready)| (&endpoint.name, self.builder.endpoint_tracked_flows(ready)));
        let tracked: std::collections::BTreeMap<_, _> = tracked.filter(|(_, flows)| *flows > 0).collect();
        json!({
            "slots": memories.map_or(0, Memories::count),
            "tracked_flows": self.builder.tracked_flows(entry),
            "by_endpoint": tracked,
        })
    }

    /// The largest packet that fits on the way to an endpoint, in bytes.
    fn inner_mtu(&self, endpoint: &EndpointEntry) -> Option<u32> {
        let overhead = endpoint.outer.as_ref()?.overhead() as u32;
        // An underlay can shrink below any use while the node runs.
        Some(self.builder.paths().get(endpoint.path)?.mtu.saturating_sub(overhead))
    }

    /// The endpoints that a router has said less of than the underlay's MTU, with what it said.
    fn lowered_mtus(&self, entry: &ServiceEntry) -> Map<String, Value> {
        let mtu = |ready: &EndpointEntry| Some(self.builder.paths().get(ready.path)?.mtu);
        let endpoints = entry.service.endpoints.iter().zip(entry.endpoints.iter());
        let lowered = endpoints.filter_map(|(endpoint, ready)| Some((endpoint.name.clone(), mtu(ready)?)));
        lowered
            .filter(|(_, mtu)| *mtu < self.builder.settings().underlay_mtu)
            .map(|(name, mtu)| (name, mtu.into()))
            .collect()
    }

    /// The endpoints without a next hop, each with the reason.
    fn unreachable(&self, entry: &ServiceEntry) -> Map<String, Value> {
        let Ways::Kernel(underlay) = &self.ways else { return Map::new() };
        let reason = |address: IpAddr| underlay.next_hop(address).err().map(|reason| reason.to_string());
        let endpoints = entry.service.endpoints.iter();
        endpoints.filter_map(|e| Some((e.name.clone(), Value::from(reason(e.address)?)))).collect()
    }
}
