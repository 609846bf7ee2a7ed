//! A file that is written whole or not at all, and believed only if its checksum holds.

use std::fs::{self, File};
use std::hash::Hasher;
use std::io::{self, Write};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher13;

const FORMAT: u32 = 1;

/// The first line of the file; the content, of one line, is the second.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    checksum: String,
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
}

/// A file in a directory, neither of which need exist yet.
#[derive(Clone, Debug)]
pub struct SealedFile {
    /// Where it is, or will be.
    pub path: PathBuf,
}

impl SealedFile {
    fn file_error(&self, error: io::Error) -> StoreError {
        StoreError::File { path: self.path.display().to_string(), error }
    }

    /// The error that says that the file was whole, and its content nonsense.
    pub fn damaged(&self, reason: String) -> StoreError {
        StoreError::Damaged { path: self.path.display().to_string(), reason }
    }

    /// Writes this line. After `Ok` it survives a power cut; after an error the one before is still there.
    pub fn write(&self, body: &str) -> Result<(), StoreError> {
        self.try_to_write(body).map_err(|error| self.file_error(error))
    }

    fn try_to_write(&self, body: &str) -> io::Result<()> {
        let header = serde_json::to_string(&Header { format: FORMAT, checksum: checksum(body) })?;
        let directory = self.path.parent().ok_or(io::ErrorKind::InvalidInput)?;
        fs::create_dir_all(directory)?;
        let fresh = self.path.with_extension("json.new");
        let mut file = File::create(&fresh)?;
        file.write_all(format!("{header}\n{body}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(&fresh, &self.path)?;
        File::open(directory)?.sync_all()
    }

    /// Reads the line written last; none where there never was one.
    pub fn read(&self) -> Result<Option<String>, StoreError> {
        let text = match fs::read(&self.path) {
            Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(self.file_error(error)),
        };
        unseal(&text).map(|body| Some(body.to_owned())).map_err(|reason| self.damaged(reason))
    }
}

fn unseal(text: &str) -> Result<&str, String> {
    let (header, body) = text.split_once('\n').ok_or("it has no header line")?;
    let header: Header = serde_json::from_str(header).map_err(|error| format!("its header: {error}"))?;
    if header.format != FORMAT {
        return Err(format!("it has format {}, and this version reads {FORMAT}", header.format));
    }
    let body = body.strip_suffix('\n').ok_or("its end is missing")?;
    if checksum(body) != header.checksum {
        return Err("its checksum does not hold".to_owned());
    }
    Ok(body)
}

fn checksum(body: &str) -> String {
    let mut hasher = SipHasher13::new_with_keys(0, 0);
    hasher.write(body.as_bytes());
    format!("{:016x}", hasher.finish())
}
