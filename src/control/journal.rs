//! What has changed since a file was written whole: a line a change, each believed only if its checksum holds. A small
//! change of a large set is on disk with one short write.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::sealed_file::{StoreError, checksum, format_of, read_file};

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

    fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { path: self.path.display().to_string(), reason }
    }

    fn damaged_from(&self, line: usize, reason: &str) -> StoreError {
        StoreError::DamagedFrom { path: self.path.display().to_string(), line, reason: reason.to_owned() }
    }

    /// Reads the changes of the file with this checksum, in order; none: there is no such file. Those of another file are of
    /// no consequence, and left out.
    ///
    /// # Errors
    /// With those that can be used: it is not what was written, or not all of it. A last line without its end was never said
    /// to be on disk, and is an error all the same: nobody else can tell that it was not.
    pub fn read(&self, of: Option<&str>) -> (Vec<String>, Result<(), StoreError>) {
        let mut changes = Vec::new();
        let read = match read_file(&self.path) {
            Ok(bytes) => self.read_bytes(&bytes, of, &mut changes),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(self.error(error)),
        };
        (changes, read)
    }

    fn read_bytes(&self, bytes: &[u8], of: Option<&str>, changes: &mut Vec<String>) -> Result<(), StoreError> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (header, lines) = bytes.split_at(end.ok_or_else(|| self.damaged("it has no header line".to_owned()))?);
        if self.read_header(header)?.of
            != of.ok_or_else(|| self.damaged("the set that it changes is missing".to_owned()))?
        {
            return Ok(());
        }
        for line in lines[1..].split_inclusive(|byte| *byte == b'\n') {
            let number = changes.len() + 2;
            let line = line.strip_suffix(b"\n").ok_or_else(|| self.damaged_from(number, "its end is missing"))?;
            let whole = std::str::from_utf8(line).ok().and_then(|line| line.split_once(' '));
            let whole = whole.filter(|(sum, change)| *sum == checksum(change.as_bytes()));
            let (_, change) = whole.ok_or_else(|| self.damaged_from(number, "its checksum does not hold"))?;
            changes.push(change.to_owned());
        }
        Ok(())
    }

    fn read_header(&self, header: &[u8]) -> Result<Header, StoreError> {
        let broken = |error: serde_json::Error| self.damaged(format!("its header: {error}"));
        // The format first: all else in the header may be another's.
        let format = format_of(header).map_err(broken)?;
        if format != FORMAT {
            return Err(StoreError::OtherFormat { path: self.path.display().to_string(), format, reads: FORMAT });
        }
        serde_json::from_slice(header).map_err(broken)
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
        let (is_of_it, path) = (!self.read(Some(of)).0.is_empty(), &self.path);
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
        assert!(written.read(Some("a")).0.is_empty());
        assert!(written.add("a", "one").expect("room") && written.add("a", "two").expect("room"));
        let (changes, problem) = journal(dir.path()).read(Some("a"));
        assert!(changes == ["one", "two"] && problem.is_ok());
        assert!(journal(dir.path()).read(Some("b")).0.is_empty(), "changes of another file");
        written.clear("a").expect("removed");
        assert!(journal(dir.path()).read(Some("a")).0.is_empty());
        written.add("b", "three").expect("room");
        assert_eq!(journal(dir.path()).read(Some("b")).0, ["three"]);
    }

    /// A journal of two changes, and its bytes.
    fn of_two_changes(dir: &Path) -> (Journal, Vec<u8>) {
        let mut written = journal(dir);
        for change in ["one", "two"] {
            written.add("a", change).expect("room");
        }
        let whole = fs::read(&written.path).expect("written");
        (written, whole)
    }

    #[test]
    fn a_change_that_is_cut_is_left_out_and_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let (written, whole) = of_two_changes(dir.path());
        for len in 0..whole.len() {
            fs::write(&written.path, &whole[..len]).expect("cut");
            let (changes, problem) = written.read(Some("a"));
            assert_eq!(problem.is_ok(), len > 0 && whole[len - 1] == b'\n', "cut to {len}");
            assert!(changes.len() < 2 && changes.iter().all(|change| change == "one"), "cut to {len}");
        }
        fs::write(&written.path, &whole[..whole.len() - 1]).expect("cut");
        let said = written.read(Some("a")).1.expect_err("cut").to_string();
        assert!(said.ends_with("changes is damaged and not used from line 3 on: its end is missing"), "{said}");
    }

    #[test]
    fn any_damage_of_a_change_is_said() {
        let dir = tempfile::tempdir().expect("a directory");
        let (written, whole) = of_two_changes(dir.path());
        let header = whole.iter().position(|byte| *byte == b'\n').expect("a header") + 1;
        for at in header..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 4;
            fs::write(&written.path, &damaged).expect("changed");
            let (changes, problem) = written.read(Some("a"));
            assert!(problem.is_err() && changes.len() < 2, "changed at {at}");
        }
    }

    #[test]
    fn only_a_sound_header_of_another_file_is_silent() {
        let dir = tempfile::tempdir().expect("a directory");
        let (written, whole) = of_two_changes(dir.path());
        let said = |header: &str| {
            let end = whole.iter().position(|byte| *byte == b'\n').expect("a header");
            fs::write(&written.path, [header.as_bytes(), &whole[end..]].concat()).expect("changed");
            let (changes, problem) = written.read(Some("a"));
            assert!(changes.is_empty());
            problem.err().map(|error| error.to_string()).unwrap_or_default()
        };
        assert_eq!(said(r#"{"format":1,"of":"b"}"#), "");
        for (header, expected) in [
            ("junk", "is damaged and not used: its header: "),
            ("", "is damaged and not used: its header: "),
            (r#"{"format":1}"#, "is damaged and not used: its header: "),
            (r#"{"format":1,"of":"a","off":"b"}"#, "is damaged and not used: its header: "),
            (
                r#"{"format":2,"cipher":"none"}"#,
                "is not used: a newer version of pointsman has written it (format 2; this one reads 1)",
            ),
        ] {
            assert!(said(header).contains(expected), "{header}: {}", said(header));
        }
        fs::write(&written.path, &whole).expect("as it was");
        let (changes, problem) = written.read(None);
        assert!(changes.is_empty());
        let said = problem.expect_err("there is no set").to_string();
        assert!(said.ends_with("is damaged and not used: the set that it changes is missing"), "{said}");
        fs::remove_file(&written.path).expect("there");
        assert!(written.read(None).1.is_ok());
    }

    #[test]
    fn a_long_one_asks_for_its_end() {
        let dir = tempfile::tempdir().expect("a directory");
        let mut written = journal(dir.path());
        assert!(!written.add("a", &"x".repeat(LONGEST as usize)).expect("written all the same"));
    }
}
