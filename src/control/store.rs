//! The last good set on disk: written whole or not at all, and believed only if its checksum holds.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

use crate::endpoint_set;
use crate::model::EndpointSet;

const FORMAT: u32 = 1;
const FILE_NAME: &str = "endpoint-set.json";

/// The first line of the file; the set, as JSON, is the second.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    checksum: String,
}

/// Why a stored set is not used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be read or written.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is not what was written.
    #[error("{path} is damaged and not used: {reason}")]
    Damaged {
        /// Its path.
        path: String,
        /// How that is known.
        reason: String,
    },
}

/// A directory that keeps the last applied set.
#[derive(Clone, Debug)]
pub struct Store {
    path: PathBuf,
}

impl Store {
    /// The store in a directory, which need not exist yet.
    pub fn new(directory: &Path) -> Self {
        Self { path: directory.join(FILE_NAME) }
    }

    fn file_error(&self, error: io::Error) -> StoreError {
        StoreError::File { path: self.path.display().to_string(), error }
    }

    /// Writes a set. After `Ok` it survives a power cut; after an error the one before is still there.
    pub fn save(&self, set: &EndpointSet) -> Result<(), StoreError> {
        self.write(set).map_err(|error| self.file_error(error))
    }

    fn write(&self, set: &EndpointSet) -> io::Result<()> {
        let body = serde_json::to_string(set)?;
        let header = serde_json::to_string(&Header { format: FORMAT, checksum: checksum(&body) })?;
        let directory = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(directory)?;
        let fresh = self.path.with_extension("json.new");
        let mut file = File::create(&fresh)?;
        file.write_all(format!("{header}\n{body}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(directory)?.sync_all()
    }

    /// Reads the set written last; none where there never was one.
    pub fn load(&self) -> Result<Option<EndpointSet>, StoreError> {
        let text = match fs::read(&self.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.file_error(error)),
        };
        parse(&text).map(Some).map_err(|reason| StoreError::Damaged { path: self.path.display().to_string(), reason })
    }
}

fn parse(text: &str) -> Result<EndpointSet, String> {
    let (header, body) = text.split_once('\n').ok_or("it has no header line")?;
    let header: Header = serde_json::from_str(header).map_err(|error| format!("its header: {error}"))?;
    if header.format != FORMAT {
        return Err(format!("it has format {}, and this version reads {FORMAT}", header.format));
    }
    let body = body.strip_suffix('\n').ok_or("its end is missing")?;
    if checksum(body) != header.checksum {
        return Err("its checksum does not hold".to_owned());
    }
    endpoint_set::parse(body).map_err(|problems| problems.to_string())
}

fn checksum(body: &str) -> String {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(body.as_bytes());
    format!("{:016x}", hasher.finish())
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let whole = fs::read(&store.path).expect("written");
        for len in 0..whole.len() {
            fs::write(&store.path, &whole[..len]).expect("cut");
            assert!(matches!(store.load(), Err(StoreError::Damaged { .. })), "cut to {len}");
        }
        for at in 0..whole.len() - 1 {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            fs::write(&store.path, &changed).expect("changed");
            assert!(matches!(store.load(), Err(StoreError::Damaged { .. })), "changed at {at}");
        }
    }
}
