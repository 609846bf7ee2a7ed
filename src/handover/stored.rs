//! Slot memories as they are kept on disk: a list of layers, the slots of each packed to a few bits.
//!
//! ```json
//! [{"size":1021,"names":["web-0","web-1"],"slots":"AAUE…","moments":[1795255200],"until":""}]
//! ```

use std::collections::BTreeSet;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::packed::{pack, unpack, width};
use super::{Index, Layer, Memories, NONE, Second, Touched};
use crate::maglev;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredLayer {
    /// A slot is remembered in one layer of its size.
    size: u32,
    names: Vec<String>,
    /// By slot: 0 where it remembers nothing, else one more than a place in `names`. Packed.
    slots: String,
    /// Until when memories are kept, in order.
    moments: Vec<Second>,
    /// By slot that remembers: a place in `moments`. Packed; empty where there is but one.
    until: String,
}

impl StoredLayer {
    fn of(layer: &Layer) -> Self {
        let moments: BTreeSet<Second> = layer.remembering().map(|(_, _, until)| until).collect();
        let moments: Vec<Second> = moments.into_iter().collect();
        let number = |slot: &Index| if *slot == NONE { 0 } else { u32::from(*slot) + 1 };
        let place = |until| moments.binary_search(&until).unwrap_or_default() as u32;
        Self {
            size: layer.size,
            names: layer.names.clone(),
            slots: pack(layer.slots.iter().map(number), width(layer.names.len() + 1)),
            until: pack(layer.remembering().map(|(_, _, until)| place(until)), width(moments.len())),
            moments,
        }
    }

    fn layer(self) -> Result<Layer, &'static str> {
        if !maglev::is_valid_size(self.size.into()) || self.names.len() > usize::from(NONE) {
            return Err("no table can have this size, or so many endpoints");
        }
        let numbers = unpack(&self.slots, width(self.names.len() + 1), self.size as usize);
        let numbers = numbers.ok_or("the slots of a layer are not those of its size and names")?;
        let count = numbers.iter().filter(|number| **number > 0).count();
        let places = unpack(&self.until, width(self.moments.len()), count);
        let mut places = places.ok_or("the moments of a layer are not those of its slots")?.into_iter();
        let first = self.moments.first().copied().unwrap_or_default();
        let mut layer = Layer { names: self.names, ..Layer::new(self.size, first) };
        for (slot, number) in numbers.into_iter().enumerate().filter(|(_, number)| *number > 0) {
            let until = places.next().and_then(|place| self.moments.get(place as usize));
            let until = *until.ok_or("a slot remembers without a moment")?;
            layer.until.set(std::iter::once(slot), until, self.size as usize);
            layer.slots[slot] = Index::try_from(number - 1).map_err(|_| "no such name")?;
        }
        Ok(layer)
    }
}

impl Serialize for Memories {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.layers.iter().map(StoredLayer::of))
    }
}

impl<'de> Deserialize<'de> for Memories {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored: Vec<StoredLayer> = Deserialize::deserialize(deserializer)?;
        let layers: Result<Vec<Layer>, &str> = stored.into_iter().map(StoredLayer::layer).collect();
        let memories = Self { layers: layers.map_err(Error::custom)? };
        if memories.is_sound() { Ok(memories) } else { Err(Error::custom("the slots contradict each other")) }
    }
}

/// The slots of one size that have remembered anything: one bit each. Packed.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTouched {
    size: u32,
    slots: String,
}

impl Serialize for Touched {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let packed = |size: u32, bits: &[u64]| {
            let slots =
                (0..size as usize).map(|slot| bits.get(slot / 64).map_or(0, |bits| (bits >> (slot % 64) & 1) as u32));
            pack(slots, 1)
        };
        let stored = |(size, bits): &(u32, Box<[u64]>)| StoredTouched { size: *size, slots: packed(*size, bits) };
        serializer.collect_seq(self.layers.iter().map(stored))
    }
}

impl<'de> Deserialize<'de> for Touched {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let stored: Vec<StoredTouched> = Deserialize::deserialize(deserializer)?;
        let layer = |StoredTouched { size, slots }| {
            let slots = maglev::is_valid_size(u64::from(size)).then(|| unpack(&slots, 1, size as usize)).flatten()?;
            let bits = |slots: &[u32]| slots.iter().zip(0..).fold(0, |bits, (slot, at)| bits | u64::from(*slot) << at);
            Some((size, slots.chunks(64).map(bits).collect()))
        };
        let layers: Option<Vec<(u32, Box<[u64]>)>> = stored.into_iter().map(layer).collect();
        Ok(Self { layers: layers.ok_or_else(|| Error::custom("the touched slots are not those of a table"))? })
    }
}

#[cfg(test)]
mod tests {
    use super::super::Version;
    use super::*;

    fn version(names: &[&str], size: u32) -> Version {
        Version { size, endpoints: names.iter().map(|name| ((*name).to_owned(), 1)).collect() }
    }

    /// Two changes at different moments, and one of the table's size.
    fn memories() -> Memories {
        let mut memories = Memories::default();
        memories.change(&version(&["a", "b", "c"], 13), &version(&["a", "b", "d"], 13), 1_795_255_200);
        memories.change(&version(&["a", "b", "d"], 13), &version(&["a", "e", "d"], 13), 1_795_255_203);
        memories.change(&version(&["a", "e", "d"], 13), &version(&["a", "e", "d"], 17), 1_795_255_300);
        memories
    }

    #[test]
    fn what_is_written_reads_back() {
        for mut memories in [Memories::default(), memories()] {
            for now in [0, 1_795_255_200, 1_795_255_203, 1_795_255_300] {
                memories.expire(now);
                let text = serde_json::to_string(&memories).expect("plain data");
                assert_eq!(serde_json::from_str::<Memories>(&text).expect("its own form"), memories, "{text}");
            }
        }
    }

    #[test]
    fn touched_slots_read_back() {
        let mut touched = Touched::default();
        touched.add(&memories().resolve(|_| Some(0)));
        let text = serde_json::to_string(&touched).expect("plain data");
        assert_eq!(serde_json::from_str::<Touched>(&text).expect("its own form"), touched, "{text}");
        for (from, to) in [(r#""size":13"#, r#""size":12"#), (r#""slots":""#, r#""slots":"A"#)] {
            let broken = text.replacen(from, to, 1);
            assert!(broken != text && serde_json::from_str::<Touched>(&broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn a_slot_takes_a_few_bits() {
        let names = |first: usize| (first..first + 10).map(|n| format!("endpoint-{n}")).collect::<Vec<_>>();
        let version =
            |names: Vec<String>| Version { size: 1_021, endpoints: names.into_iter().map(|n| (n, 1)).collect() };
        let mut memories = Memories::default();
        memories.change(&version(names(0)), &version(names(10)), 1_795_255_200);
        assert_eq!(memories.count(), 1_021);
        let text = serde_json::to_string(&memories).expect("plain data");
        assert!(text.len() < 1_021, "{} bytes", text.len());
    }

    #[test]
    fn nonsense_is_known() {
        let text = serde_json::to_string(&memories()).expect("plain data");
        for (from, to) in [
            (r#""size":13"#, r#""size":17"#),
            (r#""size":13"#, r#""size":12"#),
            (r#""size":13"#, r#""size":4294967291"#),
            (r#""names":["#, r#""names":["x","y","z","w","v","#),
            (r#""names":["c""#, r#""names":["c","c""#),
            (r#""slots":""#, r#""slots":"A"#),
            (r#""slots":""#, r#""slots":"!"#),
            (r#""moments":["#, r#""moments":[7,8,9,10,11,"#),
            (r#""until":""#, r#""until":"A"#),
            (r#""until":""#, r#""more":1,"until":""#),
            (r#"[{"size""#, r#"[{"size":2,"names":[],"slots":"","moments":[],"until":""},{"size""#),
        ] {
            let broken = text.replacen(from, to, 1);
            assert_ne!(broken, text, "{from} is not in {text}");
            assert!(serde_json::from_str::<Memories>(&broken).is_err(), "{broken}");
        }
    }
}
