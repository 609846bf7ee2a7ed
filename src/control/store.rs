//! What outlives the daemon: the last good set, and what slots remember.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::journal::Journal;
use super::proposal::Patch;
use super::sealed_file::{SealedFile, checksum};
use super::slot_memories::SlotMemories;
use super::state_lock::StateLock;
use crate::document::Tree;
use crate::endpoint_set;
use crate::handover::Memories;
use crate::model::EndpointSet;

pub use super::sealed_file::StoreError;

/// The form of a set on disk.
const SET_FORMAT: u32 = 1;
/// The form of slot memories on disk; in the first, every slot was a number in a list.
const MEMORIES_FORMAT: u32 = 2;

/// What is in force and would not, or not whole, outlive the daemon.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    /// The set, and perhaps the memories.
    #[error("the set is in force but not on disk: {0}")]
    Set(StoreError),
    /// The memories alone: after a crash, flows of slots that have changed of late may move.
    #[error("the set is on disk, but not what its slots remember: {0}")]
    Memories(StoreError),
}

/// A directory that keeps it.
#[derive(Debug)]
pub struct Store {
    set: SealedFile,
    memories: SealedFile,
    /// Changes of the set.
    journal: Journal,
    /// The checksum of the set on disk, where it and the journal are what is in force.
    written: Option<String>,
    /// Keeps other daemons out of the directory.
    lock: Option<StateLock>,
}

/// A change of the set, and what the slots of its services remember then.
#[derive(Serialize)]
struct Change<'a> {
    patch: &'a Patch,
    memories: BTreeMap<&'a String, Cow<'a, Memories>>,
}

/// The same, read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ReadChange<'a> {
    #[serde(borrow)]
    patch: Tree<'a>,
    memories: HashMap<String, Memories>,
}

/// What was on disk.
#[derive(Debug, Default)]
pub struct Kept {
    /// The set.
    pub set: EndpointSet,
    /// What slots remembered, by service.
    pub memories: HashMap<String, Memories>,
    /// What of it could not be used, a sentence each.
    pub problems: Vec<String>,
}

impl Store {
    /// The store in a directory, which need not exist yet.
    pub fn new(directory: &Path) -> Self {
        let file = |name, format| SealedFile { path: directory.join(name), format };
        let (set, memories) = ("endpoint-set.json", "slot-memories.json");
        let journal = Journal::new(directory.join("endpoint-set.changes"));
        let (set, memories) = (file(set, SET_FORMAT), file(memories, MEMORIES_FORMAT));
        Self { set, memories, journal, written: None, lock: None }
    }

    /// From now on nothing is written while another daemon has the directory.
    pub fn set_lock(&mut self, lock: StateLock) {
        self.lock = Some(lock);
    }

    /// Writes a set and what its slots remember. After `Ok` both survive a power cut.
    ///
    /// First the memories: those of a newer set than the one on disk are of no consequence to its slots, which remember what
    /// they have. A set is written also where its memories cannot be: with the set before it, a node would forward to
    /// endpoints that are no more, with this one some flows may move. What the file then remembers is older, and still true.
    pub fn keep(&mut self, set: &EndpointSet, memories: &SlotMemories) -> Result<(), NotKept> {
        self.written = None;
        if let Some(Err(error)) = self.lock.as_ref().map(StateLock::ensure) {
            return Err(NotKept::Set(self.set.file_error(error)));
        }
        let memories = self.save_memories(memories).map_err(NotKept::Memories);
        let saved = self.save(set).map_err(NotKept::Set);
        let has_memories = memories.is_ok();
        saved.and_then(|written| {
            self.journal.clear(&written).map_err(NotKept::Set)?;
            self.written = has_memories.then_some(written);
            memories
        })
    }

    /// Writes a change of the set on disk, with what slots remember of its services. After `Ok` it survives a power cut; after
    /// an error, or where there is too much of them, everything is to be [kept](Self::keep) whole, as the answer says.
    pub fn keep_change(&mut self, patch: &Patch, memories: &SlotMemories) -> bool {
        let Some(written) = self.written.take() else { return false };
        let memories = patch.names().filter_map(|name| Some((name, memories.stored_of(name)?))).collect();
        let change = serde_json::to_string(&Change { patch, memories });
        let is_kept = change.is_ok_and(|change| self.journal.add(&written, &change).unwrap_or(false));
        // A change behind one that is not there would be of another set.
        self.written = is_kept.then_some(written);
        is_kept
    }

    /// Writes the set, and answers its checksum.
    fn save(&self, set: &EndpointSet) -> Result<String, StoreError> {
        let text = serde_json::to_string(set).map_err(|error| self.set.damaged(error.to_string()))?;
        self.set.write(&text).map(|()| checksum(text.as_bytes()))
    }

    /// Reads what was kept last; nothing where there never was anything. Changes are made as far as they can be read: what
    /// comes of that is a set that was in force.
    pub fn load(&mut self) -> Kept {
        let (set, memories) = (self.load_set(), self.load_memories());
        let mut kept = Kept::default();
        let mut written = None;
        match set {
            Ok(Some(loaded)) => (kept.set, written) = (loaded.0, Some(loaded.1)),
            Ok(None) => kept.problems.extend(self.journal.read(None).1.err().map(|error| error.to_string())),
            Err(error) => kept.problems.push(error.to_string()),
        }
        match memories {
            Ok(memories) => kept.memories = memories,
            Err(error) => kept.problems.push(error.to_string()),
        }
        let Some(written) = written else { return kept };
        let (changes, read) = self.journal.read(Some(&written));
        let made = changes.iter().try_for_each(|change| kept.change(change));
        kept.problems.extend(read.err().map(|error| error.to_string()));
        kept.problems.extend(made.err().map(|reason| format!("a change of the set on disk is not used: {reason}")));
        // With changes, or without all of them, it is better written whole.
        self.written = (changes.is_empty() && kept.problems.is_empty()).then_some(written);
        kept
    }

    /// The set that was written whole last, with its checksum.
    fn load_set(&self) -> Result<Option<(EndpointSet, String)>, StoreError> {
        let Some(text) = self.set.read()? else { return Ok(None) };
        let set = endpoint_set::parse(&text).map_err(|problems| self.set.damaged(problems.to_string()))?;
        Ok(Some((set, checksum(text.as_bytes()))))
    }

    fn save_memories(&self, memories: &SlotMemories) -> Result<(), StoreError> {
        let kept: BTreeMap<&String, Cow<'_, Memories>> = memories.stored().collect();
        if kept.is_empty() && !self.memories.path.exists() {
            return Ok(());
        }
        self.memories.write(&serde_json::to_string(&kept).map_err(|error| self.memories.damaged(error.to_string()))?)
    }

    /// Reads what slots remembered, by service; nothing where there never was anything.
    pub fn load_memories(&self) -> Result<HashMap<String, Memories>, StoreError> {
        let Some(text) = self.memories.read()? else { return Ok(HashMap::new()) };
        read_memories(&text).map_err(|reason| self.memories.damaged(reason))
    }
}

impl Kept {
    fn change(&mut self, change: &str) -> Result<(), String> {
        let ReadChange { patch, memories } = serde_json::from_str(change).map_err(|error| error.to_string())?;
        let patch = Patch::read(&patch).map_err(|problems| problems.to_string())?;
        patch.names().for_each(|name| _ = self.memories.remove(name));
        self.memories.extend(memories);
        self.set = patch.of(&self.set).map_err(|problems| problems.to_string())?.set;
        Ok(())
    }
}

/// Reads what slots remember, by service, from the text of its file; the error says what is wrong with it.
pub fn read_memories(text: &str) -> Result<HashMap<String, Memories>, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::handover::Version;

    fn loaded(store: &Store) -> Result<Option<EndpointSet>, StoreError> {
        Ok(store.load_set()?.map(|(set, _)| set))
    }

    fn sample() -> EndpointSet {
        let json = r#"{"revision":"r1","services":[{"name":"a","vip":"192.0.2.1","endpoints":[{"name":"e","address":"2001:db8::1"}]}]}"#;
        endpoint_set::parse(json).expect("valid")
    }

    /// A service whose slots remember something, in both its forms.
    fn remembering() -> (SlotMemories, HashMap<String, Memories>) {
        let version = |name: &str| Version { size: 13, endpoints: vec![(name.to_owned(), 1)] };
        let mut memories = Memories::default();
        memories.change(&version("a"), &version("b"), 1_000);
        let by_service = HashMap::from([("web".to_owned(), memories)]);
        let mut kept = SlotMemories::new(600);
        kept.restore(by_service.clone());
        (kept, by_service)
    }

    #[test]
    fn a_set_comes_back_as_it_went() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Store::new(&dir.path().join("made/when/needed"));
        assert!(matches!(store.load_set(), Ok(None)));
        store.keep(&sample(), &SlotMemories::new(600)).expect("written");
        assert!(!store.memories.path.exists(), "where nothing is remembered, nothing is written of it");
        assert_eq!(loaded(&store).expect("whole"), Some(sample()));
    }

    #[test]
    fn any_damage_is_seen() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        store.save(&sample()).expect("written");
        let whole = fs::read(&store.set.path).expect("written");
        for len in 0..whole.len() {
            fs::write(&store.set.path, &whole[..len]).expect("cut");
            assert!(matches!(loaded(&store), Err(StoreError::Damaged { .. })), "cut to {len}");
        }
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            fs::write(&store.set.path, &changed).expect("changed");
            // The number of the format is not believed either.
            assert!(!matches!(loaded(&store), Ok(_) | Err(StoreError::File { .. })), "changed at {at}");
        }
    }

    #[test]
    fn slot_memories_come_back_and_nonsense_does_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::new(dir.path());
        assert!(store.load_memories().expect("there are none").is_empty());
        let (kept, by_service) = remembering();
        store.save_memories(&kept).expect("written");
        assert_eq!(store.load_memories().expect("whole"), by_service);
        store.save_memories(&SlotMemories::new(600)).expect("written over");
        assert!(store.load_memories().expect("whole").is_empty());
        let nonsense = r#"{"web":[{"size":13,"names":["a"],"slots":"AAA","moments":[2],"until":""}]}"#;
        store.memories.write(&nonsense.replace("AAA", "gAA")).expect("written");
        assert_eq!(store.load_memories().expect("one slot").len(), 1);
        store.memories.write(nonsense).expect("written");
        let error = store.load_memories().expect_err("no slot remembers anything").to_string();
        assert!(
            error.contains("slot-memories.json is damaged and not used: the slots contradict each other"),
            "{error}"
        );
    }

    #[test]
    fn what_another_version_has_written_is_left_and_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Store::new(dir.path());
        for (header, said) in [
            (
                r#"{"format":99,"cipher":"none"}"#,
                "a newer version of pointsman has written it (format 99; this one reads 1)",
            ),
            (
                r#"{"format":0,"checksum":""}"#,
                "an older version of pointsman has written it (format 0; this one reads 1)",
            ),
        ] {
            fs::write(&store.set.path, format!("{header}\nanything\n")).expect("written");
            let error = loaded(&store).expect_err(said).to_string();
            assert_eq!(error, format!("{} is not used: {said}", store.set.path.display()));
        }
        store.keep(&sample(), &SlotMemories::new(600)).expect("written over");
        assert_eq!(loaded(&store).expect("whole"), Some(sample()));
    }

    #[test]
    fn nothing_that_is_no_file_is_read_or_waited_for() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Store::new(dir.path());
        let fresh = dir.path().join("endpoint-set.json.new");
        rustix::fs::mkfifoat(rustix::fs::CWD, &store.set.path, 0o600.into()).expect("a pipe");
        rustix::fs::mkfifoat(rustix::fs::CWD, &fresh, 0o600.into()).expect("a pipe");
        let error = loaded(&store).expect_err("a pipe").to_string();
        assert!(error.ends_with("endpoint-set.json: it is not a regular file"), "{error}");
        store.keep(&sample(), &SlotMemories::new(600)).expect("a file takes the place of a pipe");
        assert_eq!(loaded(&store).expect("whole"), Some(sample()));
        for path in [&fresh, &store.set.path.clone()] {
            _ = fs::remove_file(path);
            fs::create_dir(path).expect("a directory");
            assert!(
                matches!(store.keep(&sample(), &SlotMemories::new(600)), Err(NotKept::Set(_))),
                "{}",
                path.display()
            );
            fs::remove_dir(path).expect("nothing was put there");
        }
        assert!(!fresh.exists(), "what could not be used is not left");
        std::os::unix::fs::symlink("/dev/zero", &store.set.path).expect("a link");
        assert!(matches!(loaded(&store), Err(StoreError::File { .. })), "a device without an end");
    }

    #[test]
    fn the_set_is_kept_also_where_its_memories_are_not() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut store = Store::new(dir.path());
        fs::create_dir(&store.memories.path).expect("in the way");
        let (kept, by_service) = remembering();
        assert!(matches!(store.keep(&sample(), &kept), Err(NotKept::Memories(_))));
        assert_eq!(loaded(&store).expect("whole"), Some(sample()));
        assert!(store.load_memories().is_err());
        fs::remove_dir(&store.memories.path).expect("empty");
        store.keep(&sample(), &kept).expect("nothing is in the way");
        assert!(store.load_memories().expect("whole") == by_service);
    }
}
