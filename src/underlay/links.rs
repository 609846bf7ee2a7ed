//! Every interface of the node, and which of them lead out by the one that carries the tunnels.

use std::collections::HashMap;

use super::event::{LinkNews, Vlan};
use super::link::Link;
use crate::snapshot::Tag;
use crate::wire::ethernet::MacAddress;

/// What is kept of an interface.
#[derive(Debug)]
struct Known {
    name: String,
    mac: Option<MacAddress>,
    up: bool,
    vlan: Option<Vlan>,
}

/// How frames of a route leave by our interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carrier {
    /// The source of the frames.
    pub mac: MacAddress,
    /// Whether they can leave at all.
    pub up: bool,
    /// What they are tagged with.
    pub tag: Tag,
}

/// Every interface of the node, by the kernel's number.
#[derive(Debug, Default)]
pub struct Links(HashMap<u32, Known>);

impl Links {
    /// Takes in what is told of one. Answers whether routes may have moved, as they do where one comes, goes up or down.
    pub fn update(&mut self, news: LinkNews) -> bool {
        let LinkNews { index, name, mac, up, vlan, .. } = news;
        let before = self.0.insert(index, Known { name, mac, up, vlan });
        before.is_none_or(|before| (before.up, before.vlan) != (up, vlan))
    }

    /// Forgets one that is gone.
    pub fn remove(&mut self, index: u32) {
        self.0.remove(&index);
    }

    /// Forgets all, to be told anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Whether there is one of this number.
    pub fn have(&self, index: u32) -> bool {
        self.0.contains_key(&index)
    }

    /// The name of one, or what stands for it.
    pub fn name(&self, index: u32) -> String {
        self.0.get(&index).map_or_else(|| format!("interface {index}"), |known| known.name.clone())
    }

    /// How frames leave by `link` where the kernel would send them by the interface of this number: `link` itself or a
    /// VLAN device on top of it. `None` for any other.
    pub fn carrier(&self, link: &Link, index: u32) -> Option<Carrier> {
        if index == link.index {
            return Some(Carrier { mac: link.mac, up: link.up, tag: Tag::None });
        }
        let known = self.0.get(&index)?;
        let vlan = known.vlan.filter(|vlan| vlan.parent == link.index)?;
        Some(Carrier { mac: known.mac.unwrap_or(link.mac), up: link.up && known.up, tag: Tag::Fixed(vlan.id) })
    }
}
