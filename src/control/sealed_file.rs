//! A file that is written whole or not at all, and believed only if its checksum holds.

use std::fs::{self, File, OpenOptions};
use std::hash::Hasher;
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

/// The largest file, in bytes: far more than the largest set, and no more than fits into memory.
const LARGEST: u64 = 1 << 30;

/// The first line of the file; the content, of one line, is the second.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    checksum: String,
}

/// What the headers of all formats have in common.
#[derive(Deserialize)]
struct AnyHeader {
    format: u32,
}

/// Why a file is not used.
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
    /// Its lines up to one are what was written, and used.
    #[error("{path} is damaged and not used from line {line} on: {reason}")]
    DamagedFrom {
        /// Its path.
        path: String,
        /// The first line that is not used, counted from 1.
        line: usize,
        /// What that line has wrong.
        reason: String,
    },
    /// It was written by a version that writes another form.
    #[error("{path} is not used: {} version of pointsman has written it (format {format}; this one reads {reads})",
        if format > reads { "a newer" } else { "an older" })]
    OtherFormat {
        /// Its path.
        path: String,
        /// Its format.
        format: u32,
        /// The format that this version reads and writes.
        reads: u32,
    },
}

/// A file in a directory, neither of which need exist yet.
#[derive(Clone, Debug)]
pub struct SealedFile {
    /// Where it is, or will be.
    pub path: PathBuf,
    /// The number of its content's form; one that is changed gets another.
    pub format: u32,
}

impl SealedFile {
    /// The error that says why the file cannot be used.
    pub fn file_error(&self, error: io::Error) -> StoreError {
        StoreError::File { path: self.path.display().to_string(), error }
    }

    /// The error that says that the file was whole, and its content nonsense.
    pub fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { path: self.path.display().to_string(), reason }
    }

    /// Writes this line. After `Ok` it survives a power cut; after an error what is there is whole, mostly as it was before.
    pub fn write(&self, body: &str) -> Result<(), StoreError> {
        self.try_to_write(body).map_err(|error| self.file_error(error))
    }

    fn try_to_write(&self, body: &str) -> io::Result<()> {
        let directory = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        make_directory(directory)?;
        let fresh = self.path.with_extension("json.new");
        let written = self.write_fresh(&fresh, body).and_then(|()| fs::rename(&fresh, &self.path));
        if written.is_err() {
            // On a full disk, what there is of it would only be in the way.
            _ = fs::remove_file(&fresh);
        }
        written?;
        File::open(directory)?.sync_all()
    }

    /// Writes another file; the content is on disk before the name can be given to it.
    fn write_fresh(&self, fresh: &Path, body: &str) -> io::Result<()> {
        let header = serde_json::to_string(&Header { format: self.format, checksum: checksum(body.as_bytes()) })?;
        if (header.len() + body.len() + 2) as u64 > LARGEST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        match fs::remove_file(fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // A new one, so that nothing that has been put there is opened: a pipe would be waited for.
        let mut file = OpenOptions::new().write(true).create_new(true).open(fresh)?;
        for part in [&header, "\n", body, "\n"] {
            file.write_all(part.as_bytes())?;
        }
        file.sync_all()
    }

    /// Reads the line written last; none where there never was one.
    pub fn read(&self) -> Result<Option<String>, StoreError> {
        let bytes = match read_file(&self.path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.file_error(error)),
        };
        self.unseal(&bytes).map(Some)
    }

    fn unseal(&self, bytes: &[u8]) -> Result<String, StoreError> {
        let end = bytes.iter().position(|byte| *byte == b'\n');
        let (header, body) = bytes.split_at(end.ok_or_else(|| self.damaged("it has no header line".to_owned()))?);
        let broken = |error: serde_json::Error| self.damaged(format!("its header: {error}"));
        // The format first: all else in the header may be another's.
        let format = format_of(header).map_err(broken)?;
        if format != self.format {
            let path = self.path.display().to_string();
            return Err(StoreError::OtherFormat { path, format, reads: self.format });
        }
        let header: Header = serde_json::from_slice(header).map_err(broken)?;
        let body = body[1..].strip_suffix(b"\n").ok_or_else(|| self.damaged("its end is missing".to_owned()))?;
        if checksum(body) != header.checksum {
            return Err(self.damaged("its checksum does not hold".to_owned()));
        }
        String::from_utf8(body.to_vec()).map_err(|error| self.damaged(error.to_string()))
    }
}

/// The number of the form that a header of any form says.
pub fn format_of(header: &[u8]) -> Result<u32, serde_json::Error> {
    serde_json::from_slice(header).map(|AnyHeader { format }| format)
}

/// Makes a directory, with those above it that are missing, so that it survives a power cut.
pub fn make_directory(directory: &Path) -> io::Result<()> {
    if directory.is_dir() {
        return Ok(());
    }
    let above = directory.parent().ok_or(io::ErrorKind::InvalidInput)?;
    make_directory(above)?;
    fs::create_dir(directory)?;
    File::open(above)?.sync_all()
}

/// The content of a regular file. Of another kind nothing is read: a pipe would be waited for, and a device has no end.
pub fn read_file(path: &Path) -> io::Result<Vec<u8>> {
    let not_at_once = OFlags::NONBLOCK.bits().cast_signed();
    let file = OpenOptions::new().read(true).custom_flags(not_at_once).open(path)?;
    let about = file.metadata()?;
    if !about.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    if about.len() > LARGEST {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut bytes = Vec::with_capacity(about.len() as usize);
    file.take(LARGEST).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Tells whether bytes are what was written; no more, so an attacker could forge it.
pub fn checksum(body: &[u8]) -> String {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(body);
    format!("{:016x}", hasher.finish())
}
