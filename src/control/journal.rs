//! What has changed since a file was written whole: a line a change, each believed only if its checksum holds. A small
//! change of a large set is on disk with one short write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sealed_file::{StoreError, checksum, read_file};

const FORMAT: u32 = 1;
/// From so many bytes on the file is better written whole again.
const LONGEST: u64 = 4 << 20;

/// The first line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    /// The checksum of the file that the changes are of: changes of an older one are of no consequence.
    of: String,
}

/// A file of changes, which need not exist yet.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// What is written to, with the bytes that it has; none until the first change of the file as it is.
    open: Option<(File, u64)>,
}

impl Journal {
    /// The changes in this file.
    pub fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    fn error(&self, error: io::Error) -> StoreError {
        StoreError::File { path: self.path.display().to_string(), error }
    }

    /// Reads the changes of the file with this checksum, in order. A last one that is not whole was never said to be on disk,
    /// and is left out.
    ///
    /// # Errors
    /// With those before it: one in the middle is not what was written.
    pub fn read(&self, of: &str) -> (Vec<String>, Result<(), StoreError>) {
        let bytes = match read_file(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return (Vec::new(), Ok(())),
            Err(error) => return (Vec::new(), Err(self.error(error))),
        };
        let whole = bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        let text = String::from_utf8_lossy(&bytes[..whole]);
        let mut lines = text.lines();
        let header = lines.next().map(serde_json::from_str::<Header>);
        if !matches!(&header, Some(Ok(header)) if header.format == FORMAT && header.of == of) {
            return (Vec::new(), Ok(()));
        }
        let mut changes = Vec::new();
        for line in lines {
            match line.split_once(' ') {
                Some((sum, change)) if sum == checksum(change.as_bytes()) => changes.push(change.to_owned()),
                _ => {
                    let path = self.path.display().to_string();
                    let reason = format!("line {} does not hold; those before it are used", changes.len() + 2);
                    return (changes, Err(StoreError::Damaged { path, reason }));
                }
            }
        }
        (changes, Ok(()))
    }

    /// Adds a change of the file with this checksum. After `Ok` it survives a power cut. Answers whether there is room for
    /// more; after an error, or where there is none, the file is to be written whole.
    pub fn add(&mut self, of: &str, change: &str) -> Result<bool, StoreError> {
        self.try_to_add(of, change).map_err(|error| {
            self.open = None;
            self.error(error)
        })
    }

    fn try_to_add(&mut self, of: &str, change: &str) -> io::Result<bool> {
        let line = format!("{} {change}\n", checksum(change.as_bytes()));
        let Some((file, len)) = &mut self.open else {
            let (file, len) = self.begin(of, &line)?;
            self.open = Some((file, len));
            return Ok(len < LONGEST);
        };
        file.write_all(line.as_bytes())?;
        file.sync_data()?;
        *len += line.len() as u64;
        Ok(*len < LONGEST)
    }

    fn begin(&self, of: &str, line: &str) -> io::Result<(File, u64)> {
        self.remove()?;
        let header = serde_json::to_string(&Header { format: FORMAT, of: of.to_owned() })?;
        let text = format!("{header}\n{line}");
        let mut file = OpenOptions::new().append(true).create_new(true).open(&self.path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        sync_directory(&self.path)?;
        Ok((file, text.len() as u64))
    }

    /// Forgets all changes: the file has been written whole, and has this checksum. After `Ok` they stay forgotten, also if
    /// the file is the very one that they were of.
    pub fn clear(&mut self, of: &str) -> Result<(), StoreError> {
        self.open = None;
        let (is_of_it, path) = (!self.read(of).0.is_empty(), &self.path);
        // One that cannot be removed is of no consequence where it is of another file.
        match self.remove().and_then(|was_there| if was_there { sync_directory(path) } else { Ok(()) }) {
            Err(error) if is_of_it => Err(self.error(error)),
            _ => Ok(()),
        }
    }

    /// Answers whether it was there.
    fn remove(&self) -> io::Result<bool> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            removed => removed.map(|()| true),
        }
    }
}

/// Has the disk know which files are in the directory of this one.
fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn journal(dir: &Path) -> Journal {
        Journal::new(dir.join("changes"))
    }

    #[test]
    fn changes_come_back_in_order_and_only_to_their_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut written = journal(dir.path());
        assert!(written.read("a").0.is_empty());
        assert!(written.add("a", "one").expect("room") && written.add("a", "two").expect("room"));
        let (changes, problem) = journal(dir.path()).read("a");
        assert!(changes == ["one", "two"] && problem.is_ok());
        assert!(journal(dir.path()).read("b").0.is_empty(), "changes of another file");
        written.clear("a").expect("removed");
        assert!(journal(dir.path()).read("a").0.is_empty());
        written.add("b", "three").expect("room");
        assert_eq!(journal(dir.path()).read("b").0, ["three"]);
    }

    #[test]
    fn a_change_that_is_cut_is_left_out_and_a_damaged_one_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut written = journal(dir.path());
        for change in ["one", "two"] {
            written.add("a", change).expect("room");
        }
        let whole = fs::read(&written.path).expect("written");
        for len in 0..whole.len() {
            fs::write(&written.path, &whole[..len]).expect("cut");
            let (changes, problem) = written.read("a");
            assert!(problem.is_ok() && changes.len() < 2, "cut to {len}");
            assert!(changes.iter().all(|change| change == "one"));
        }
        let header = whole.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
        for at in header..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(&written.path, &damaged).expect("changed");
            let (changes, problem) = written.read("a");
            assert!(problem.is_err() && changes.len() < 2, "changed at {at}");
        }
    }

    #[test]
    fn a_long_one_asks_for_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut written = journal(dir.path());
        assert!(!written.add("a", &"x".repeat(LONGEST as usize)).expect("written all the same"));
    }
}
