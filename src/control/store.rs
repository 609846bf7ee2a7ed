//! What outlives the daemon: the last good set, and what slots remember.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use super::sealed_file::SealedFile;
use super::slot_memories::SlotMemories;
use crate::endpoint_set;
use crate::handover::Memories;
use crate::model::EndpointSet;

pub use super::sealed_file::StoreError;

/// A directory that keeps it.
#[derive(Clone, Debug)]
pub struct Store {
    set: SealedFile,
    memories: SealedFile,
}

impl Store {
    /// The store in a directory, which need not exist yet.
    pub fn new(directory: &Path) -> Self {
        let file = |name| SealedFile { path: directory.join(name) };
        Self { set: file("endpoint-set.json"), memories: file("slot-memories.json") }
    }

    /// Writes a set. After `Ok` it survives a power cut; after an error the one before is still there.
    pub fn save(&self, set: &EndpointSet) -> Result<(), StoreError> {
        self.set.write(&serde_json::to_string(set).map_err(|error| self.set.damaged(error.to_string()))?)
    }

    /// Reads the set written last; none where there never was one.
    pub fn load(&self) -> Result<Option<EndpointSet>, StoreError> {
        let Some(text) = self.set.read()? else { return Ok(None) };
        endpoint_set::parse(&text).map(Some).map_err(|problems| self.set.damaged(problems.to_string()))
    }

    /// Writes what slots remember.
    pub fn save_memories(&self, memories: &SlotMemories) -> Result<(), StoreError> {
        let kept: BTreeMap<&String, &Memories> = memories.iter().collect();
        if kept.is_empty() && !self.memories.path.exists() {
            return Ok(());
        }
        self.memories.write(&serde_json::to_string(&kept).map_err(|error| self.memories.damaged(error.to_string()))?)
    }

    /// Reads what slots remembered, by service; nothing where there never was anything.
    pub fn load_memories(&self) -> Result<HashMap<String, Memories>, StoreError> {
        let Some(text) = self.memories.read()? else { return Ok(HashMap::new()) };
        let kept: HashMap<String, Memories> =
            serde_json::from_str(&text).map_err(|error| self.memories.damaged(error.to_string()))?;
        match kept.iter().find(|(_, memories)| !memories.is_sound()) {
            None => Ok(kept),
            Some((service, _)) => {
                Err(self.memories.damaged(format!("the memories of \"{service}\" contradict themselves")))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::handover::Version;

    fn sample() -> EndpointSet {
        let json = r#"{"revision":"r1","services":[{"name":"a","vip":"192.0.2.1","endpoints":[{"name":"e","address":"2001:db8::1"}]}]}"#;
        endpoint_set::parse(json).expect("valid")
    }

    #[test]
    fn a_set_comes_back_as_it_went() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(&dir.path().join("made/when/needed"));
        assert!(matches!(store.load(), Ok(None)));
        store.save(&sample()).expect("written");
        assert_eq!(store.load().expect("whole"), Some(sample()));
    }

    #[test]
    fn any_damage_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        store.save(&sample()).expect("written");
        let whole = fs::read(&store.set.path).expect("written");
        for len in 0..whole.len() {
            fs::write(&store.set.path, &whole[..len]).expect("cut");
            assert!(matches!(store.load(), Err(StoreError::Damaged { .. })), "cut to {len}");
        }
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            fs::write(&store.set.path, &changed).expect("changed");
            assert!(matches!(store.load(), Err(StoreError::Damaged { .. })), "changed at {at}");
        }
    }

    #[test]
    fn slot_memories_come_back_and_nonsense_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        assert!(store.load_memories().expect("there are none").is_empty());
        store.save_memories(&SlotMemories::new(600)).expect("nothing to write");
        assert!(!store.memories.path.exists());
        let version = |name: &str| Version { size: 13, endpoints: vec![(name.to_owned(), 1)] };
        let mut memories = Memories::default();
        memories.change(&version("a"), &version("b"), 1_000);
        let mut kept = SlotMemories::new(600);
        kept.restore(HashMap::from([("web".to_owned(), memories.clone())]));
        store.save_memories(&kept).expect("written");
        assert_eq!(store.load_memories().expect("whole"), HashMap::from([("web".to_owned(), memories)]));
        store
            .memories
            .write(r#"{"web":{"layers":[{"size":13,"names":[],"slots":[1],"until":[2]}]}}"#)
            .expect("written");
        assert!(matches!(store.load_memories(), Err(StoreError::Damaged { .. })));
    }
}
