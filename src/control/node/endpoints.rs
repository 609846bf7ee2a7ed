//! How each endpoint is: its share, what it was sent, and what is left of it while it drains.

use serde_json::{Value, json};

use super::{Node, Ways};
use crate::control::protocol::Fault;
use crate::document::{Collector, Node as DocumentNode, Tree};
use crate::snapshot::ServiceEntry;

impl Node {
    /// The answer to `endpoints`: of one service, or of all.
    pub(super) fn endpoints(&self, params: &Tree<'_>) -> Result<Value, Fault> {
        let wanted = read_service_name(params)?;
        let mut entries = self
            .builder
            .services()
            .iter()
            .filter(|entry| wanted.as_ref().is_none_or(|wanted| entry.service.name == *wanted))
            .peekable();
        if let (Some(wanted), None) = (&wanted, entries.peek()) {
            return Err(Fault::invalid_param("service", format!("there is no service \"{wanted}\"")));
        }
        Ok(json!({ "endpoints": entries.flat_map(|entry| self.endpoints_of(entry)).collect::<Vec<_>>() }))
    }

    fn endpoints_of(&self, entry: &ServiceEntry) -> Vec<Value> {
        let (slots, remembered) = (entry.slots(), entry.remembered_slots());
        let endpoints = entry.service.endpoints.iter().zip(entry.endpoints.iter()).zip(slots.iter().zip(&remembered));
        let shown = endpoints.map(|((endpoint, ready), (slots, remembered))| {
            let traffic = self.builder.traffic(ready.cell);
            let path = self.builder.paths().get(ready.path);
            let unreachable = match &self.ways {
                Ways::Fixed(..) => None,
                Ways::Kernel(underlay) => underlay.next_hop(endpoint.address).err().map(|reason| reason.to_string()),
            };
            json!({
                "service": entry.service.name,
                "endpoint": endpoint.name,
                "address": endpoint.address,
                "state": endpoint.effective_state(),
                "since": endpoint.since,
                "weight": endpoint.weight,
                "slots": slots,
                "table_size": entry.table.size(),
                "remembered_slots": remembered,
                "tracked_flows": self.builder.endpoint_tracked_flows(ready),
                "packets": traffic.packets,
                "bytes": traffic.bytes,
                "next_hop": path.and_then(|path| path.next_hop).map(|hop| hop.destination.to_string()),
                "path_mtu": path.map(|path| path.mtu),
                "unreachable": unreachable,
            })
        });
        shown.collect()
    }
}

fn read_service_name(params: &Tree<'_>) -> Result<Option<String>, Fault> {
    let collector = Collector::default();
    let root = DocumentNode::root(params, &collector);
    let name = root.table(&["service"]).and_then(|table| match table.get("service") {
        None => Some(None),
        Some(node) => node.text().map(|name| Some(name.to_owned())),
    });
    collector.finish(name).map_err(Fault::invalid_params)
}
