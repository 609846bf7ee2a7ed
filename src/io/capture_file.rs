//! Frames that come from and go to capture files: pcap in, pcap out. Time is the capture's own.

use std::fs::File;
use std::io::{self, BufReader, BufWriter};
use std::os::fd::BorrowedFd;
use std::path::Path;
use std::time::Duration;

use pcap_file::pcap::{PcapHeader, PcapPacket, PcapReader, PcapWriter};
use pcap_file::{DataLink, PcapError, TsResolution};

use super::{Held, KernelStatistics, PacketIo};
use crate::frame::{Frame, Span};

/// Room before each frame, as AF_XDP gives it.
const HEADROOM: usize = 256;
/// The longest packet of an output file, in bytes: an IP packet of any size with its outer headers.
const SNAPLEN: u32 = 262_144;

/// A capture cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The file cannot be opened or made.
    #[error("{path}: {error}")]
    File {
        /// Its path.
        path: String,
        /// Why.
        error: io::Error,
    },
    /// It is no pcap file.
    #[error("{path} is not a pcap file of Ethernet frames: {reason}")]
    Format {
        /// Its path.
        path: String,
        /// Why.
        reason: String,
    },
}

/// One capture being read and one being written. It gives out one frame at a time, so that each has its own time.
pub struct CaptureFile {
    reader: PcapReader<BufReader<File>>,
    writer: PcapWriter<BufWriter<File>>,
    path: String,
    chunk: Vec<u8>,
    /// The time of the frame in `chunk`, since 1970.
    time: Duration,
    /// How many packets have been read.
    count: u64,
    /// Whether the frame in `chunk` has not been given out yet.
    ahead: bool,
}

impl CaptureFile {
    /// Opens `input` and makes `output`; both hold Ethernet frames.
    pub fn open(input: &Path, output: &Path) -> Result<Self, CaptureError> {
        let path = input.display().to_string();
        let file = File::open(input).map_err(|error| CaptureError::File { path: path.clone(), error })?;
        let format = |reason: String| CaptureError::Format { path: path.clone(), reason };
        let reader = PcapReader::new(BufReader::new(file)).map_err(|error| format(explain(&error)))?;
        if reader.header().datalink != DataLink::ETHERNET {
            return Err(format(format!("its link type is {:?}", reader.header().datalink)));
        }
        let out_path = output.display().to_string();
        let out_error = |error| CaptureError::File { path: out_path.clone(), error };
        let file = File::create(output).map_err(out_error)?;
        let header = PcapHeader {
            datalink: DataLink::ETHERNET,
            ts_resolution: TsResolution::NanoSecond,
            snaplen: SNAPLEN,
            ..PcapHeader::default()
        };
        let writer = PcapWriter::with_header(BufWriter::new(file), header)
            .map_err(|error| out_error(io::Error::other(explain(&error))))?;
        let (chunk, time) = (Vec::new(), Duration::ZERO);
        Ok(Self { reader, writer, path, chunk, time, count: 0, ahead: false })
    }

    /// When the next frame was captured, since 1970; none at the end. No frame may be held meanwhile.
    pub fn next_time(&mut self) -> io::Result<Option<Duration>> {
        if self.ahead {
            return Ok(Some(self.time));
        }
        let Some(packet) = self.reader.next_packet() else { return Ok(None) };
        let packet = packet.map_err(|error| {
            let reason = format!("{}: packet {}: {}", self.path, self.count, explain(&error));
            io::Error::new(io::ErrorKind::InvalidData, reason)
        })?;
        self.chunk.clear();
        self.chunk.resize(HEADROOM, 0);
        self.chunk.extend_from_slice(&packet.data);
        self.time = packet.timestamp;
        self.count += 1;
        self.ahead = true;
        Ok(Some(self.time))
    }

    /// Writes what is still in memory.
    pub fn finish(self) -> io::Result<()> {
        self.writer.into_writer().into_inner().map(drop).map_err(io::IntoInnerError::into_error)
    }
}

fn explain(error: &PcapError) -> String {
    match error {
        PcapError::IncompleteBuffer => "it ends in the middle of a header or packet".to_owned(),
        other => other.to_string(),
    }
}

impl PacketIo for CaptureFile {
    const TAP: bool = true;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        if most > 0 && self.next_time()?.is_some() {
            self.ahead = false;
            into.push(Held::new(0, Span { start: HEADROOM, len: self.chunk.len() - HEADROOM }));
        }
        Ok(())
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        Frame::new(&mut self.chunk, held.span).expect("a held frame lies inside its chunk")
    }

    fn send(&mut self, held: Held) {
        let Span { start, len } = held.span;
        let packet = PcapPacket::new(self.time, len as u32, &self.chunk[start..start + len]);
        // A full disk shows in `finish`: the writer keeps what it could not write.
        _ = self.writer.write_packet(&packet);
    }

    fn release(&mut self, _held: Held) {}

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn wait(&mut self, _wake: BorrowedFd<'_>, _timeout: Duration) -> io::Result<()> {
        Ok(())
    }

    fn statistics(&mut self) -> KernelStatistics {
        KernelStatistics::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(path: &Path, datalink: DataLink, frames: &[&[u8]]) {
        let header = PcapHeader { datalink, ..PcapHeader::default() };
        let file = File::create(path).expect("a file");
        let mut writer = PcapWriter::with_header(file, header).expect("a header");
        for (frame, second) in frames.iter().zip(1..) {
            let packet = PcapPacket::new(Duration::from_secs(second), frame.len() as u32, frame);
            writer.write_packet(&packet).expect("a packet");
        }
    }

    #[test]
    fn carries_frames_and_their_times_from_file_to_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let (input, output) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
        write(&input, DataLink::ETHERNET, &[b"one", b"two", b"three"]);
        let mut capture = CaptureFile::open(&input, &output).expect("a capture");
        let mut batch = Vec::new();
        for _ in 0..4 {
            capture.receive(&mut batch, 64).expect("readable");
            for held in batch.drain(..) {
                if capture.time == Duration::from_secs(2) { capture.release(held) } else { capture.send(held) }
            }
        }
        assert_eq!(capture.next_time().expect("readable"), None);
        capture.finish().expect("written");
        let mut reader = PcapReader::new(File::open(&output).expect("written")).expect("a capture");
        let mut seen = Vec::new();
        while let Some(packet) = reader.next_packet() {
            let packet = packet.expect("whole");
            seen.push((packet.timestamp.as_secs(), packet.data.to_vec()));
        }
        assert_eq!(seen, [(1, b"one".to_vec()), (3, b"three".to_vec())]);
    }

    #[test]
    fn says_what_is_wrong_with_a_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let (input, output) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
        let error = |input: &Path| CaptureFile::open(input, &output).err().expect("refused").to_string();
        assert!(error(&input).ends_with("in.pcap: No such file or directory (os error 2)"));
        std::fs::write(&input, "text, not packets, and long enough for a header").expect("written");
        assert!(error(&input).contains("is not a pcap file of Ethernet frames"));
        write(&input, DataLink::RAW, &[]);
        assert!(error(&input).contains("its link type is RAW"));
        write(&input, DataLink::ETHERNET, &[b"one", b"two"]);
        let whole = std::fs::read(&input).expect("written");
        std::fs::write(&input, &whole[..whole.len() - 1]).expect("cut");
        let mut capture = CaptureFile::open(&input, &output).expect("a capture");
        let mut batch = Vec::new();
        capture.receive(&mut batch, 1).expect("the first is whole");
        batch.drain(..).for_each(|held| capture.release(held));
        let error = capture.receive(&mut batch, 1).expect_err("cut").to_string();
        assert!(error.contains("in.pcap: packet 1: "), "{error}");
    }
}
