//! Frames that come from a capture file, pcap or pcapng, and go to another, pcap. Time is the capture's own.

mod reader;

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::BorrowedFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use pcap_file::DataLink;
use pcap_file::pcap::{PcapHeader, PcapPacket, PcapWriter};

use super::{HEADROOM, Held, KernelStatistics, PacketIo};
use crate::frame::{Frame, Span};
use crate::moment::Moment;

pub use reader::Fault;
use reader::Reader;

/// The largest packet in bytes that capture tools write.
const LARGEST: usize = 262_144;

/// What is wrong with a capture file.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// A file as a whole.
    #[error("{} {fault}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        fault: Fault,
    },
    /// The file at one packet.
    #[error("{} {fault} (packet {index}, counted from 0)", path.display())]
    Packet {
        /// The file.
        path: PathBuf,
        /// The packet's place in it, from 0.
        index: u64,
        /// What is wrong with it.
        fault: Fault,
    },
    /// Writing would destroy what is to be read.
    #[error("{} is both read and written; write to another file", .0.display())]
    SameFile(PathBuf),
}

/// One capture being read and one being written. It gives out one frame at a time, so that each has its own time.
pub struct CaptureFile {
    input: PathBuf,
    reader: Reader,
    output: PathBuf,
    writer: PcapWriter<BufWriter<File>>,
    chunk: Vec<u8>,
    /// Frames of the worker's own making; their chunks are numbered from 1.
    made: Vec<Vec<u8>>,
    packet: Vec<u8>,
    /// The time of the frame in `chunk`, since 1970.
    time: Duration,
    /// How many packets have been read.
    count: u64,
    /// Of how many of them the capture does not have all.
    cut: u64,
    /// Whether the frame in `chunk` has not been given out yet.
    ahead: bool,
    /// Why a frame could not be written; told by the next flush.
    unwritten: Option<CaptureError>,
}

impl CaptureFile {
    /// Opens `input`, a pcap or pcapng file, and makes `output`, a pcap file whose times are as fine; both hold
    /// Ethernet frames.
    pub fn open(input: &Path, output: &Path) -> Result<Self, CaptureError> {
        let at = |path: &Path, fault| CaptureError::File { path: path.to_owned(), fault };
        let file = File::open(input).map_err(|error| at(input, Fault::Io(error)))?;
        if is_same(&file, output) {
            return Err(CaptureError::SameFile(input.to_owned()));
        }
        let reader = Reader::new(file).map_err(|fault| at(input, fault))?;
        let header = PcapHeader {
            datalink: DataLink::ETHERNET,
            ts_resolution: reader.resolution(),
            snaplen: LARGEST as u32,
            ..PcapHeader::default()
        };
        let file = File::create(output).map_err(|error| at(output, Fault::Io(error)))?;
        let writer = PcapWriter::with_header(BufWriter::new(file), header).map_err(|error| at(output, error.into()))?;
        Ok(Self {
            input: input.to_owned(),
            reader,
            output: output.to_owned(),
            writer,
            chunk: Vec::new(),
            made: Vec::new(),
            packet: Vec::new(),
            time: Duration::ZERO,
            count: 0,
            cut: 0,
            ahead: false,
            unwritten: None,
        })
    }

    /// When the next frame was captured, since 1970; none at the end. No frame may be held meanwhile.
    pub fn next_time(&mut self) -> Result<Option<Duration>, CaptureError> {
        if self.ahead {
            return Ok(Some(self.time));
        }
        let at = |fault| CaptureError::Packet { path: self.input.clone(), index: self.count, fault };
        let Some(captured) = self.reader.next(&mut self.packet).map_err(at)? else { return Ok(None) };
        if self.packet.len() > LARGEST {
            return Err(at(Fault::TooLarge(self.packet.len())));
        }
        self.made.clear();
        self.chunk.clear();
        self.chunk.resize(HEADROOM, 0);
        self.chunk.extend_from_slice(&self.packet);
        self.cut += u64::from(captured.len > self.packet.len() as u64);
        (self.time, self.count, self.ahead) = (captured.time, self.count + 1, true);
        Ok(Some(captured.time))
    }

    /// Of how many packets that have been read the capture does not have all, since its snap length has cut them.
    pub fn cut(&self) -> u64 {
        self.cut
    }

    /// The packet last given out, as it came.
    pub fn packet(&self) -> &[u8] {
        &self.packet
    }

    /// Writes what is still in memory.
    pub fn finish(self) -> Result<(), CaptureError> {
        let Self { writer, output, unwritten, .. } = self;
        let flushed = writer.into_writer().flush();
        unwritten.map_or(Ok(()), Err)?;
        flushed.map_err(|error| CaptureError::File { path: output, fault: Fault::Io(error) })
    }
}

fn is_same(file: &File, path: &Path) -> bool {
    let (Ok(one), Ok(other)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    one.is_file() && (one.dev(), one.ino()) == (other.dev(), other.ino())
}

impl PacketIo for CaptureFile {
    const TAP: bool = true;

    fn receive(&mut self, into: &mut Vec<Held>, most: usize) -> io::Result<()> {
        if most > 0 && self.next_time().map_err(io::Error::other)?.is_some() {
            self.ahead = false;
            into.push(Held::new(0, Span { start: HEADROOM, len: self.chunk.len() - HEADROOM }));
        }
        Ok(())
    }

    fn now(&mut self) -> Moment {
        Moment(u64::try_from(self.time.as_nanos()).unwrap_or(u64::MAX))
    }

    fn allocate(&mut self, len: usize) -> Option<Held> {
        self.made.push(vec![0; HEADROOM + len]);
        Some(Held::new(self.made.len() as u64, Span { start: HEADROOM, len }))
    }

    fn frame(&mut self, held: &Held) -> Frame<'_> {
        let chunk = match held.chunk {
            0 => &mut self.chunk,
            made => &mut self.made[made as usize - 1],
        };
        Frame::new(chunk, held.span).expect("a held frame lies inside its chunk")
    }

    fn send(&mut self, held: Held) {
        let time = self.time;
        let bytes = self.frame(&held).bytes().to_vec();
        let packet = PcapPacket::new(time, bytes.len() as u32, &bytes);
        if let Err(error) = self.writer.write_packet(&packet) {
            let error = CaptureError::File { path: self.output.clone(), fault: error.into() };
            self.unwritten.get_or_insert(error);
        }
    }

    fn release(&mut self, _held: Held) {}

    fn flush(&mut self) -> io::Result<()> {
        self.unwritten.take().map_or(Ok(()), |error| Err(io::Error::other(error)))
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
    use pcap_file::pcap::PcapReader;

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
        assert!(error(&input).ends_with("in.pcap cannot be read or written: No such file or directory (os error 2)"));
        std::fs::write(&input, "text, not packets, and long enough for a header").expect("written");
        assert!(error(&input).contains("is neither a pcap nor a pcapng file"));
        write(&input, DataLink::RAW, &[]);
        assert!(error(&input).contains("has packets of link type RAW, but only Ethernet is understood"));
        write(&input, DataLink::ETHERNET, &[b"one", b"two"]);
        let whole = std::fs::read(&input).expect("written");
        std::fs::write(&input, &whole[..whole.len() - 1]).expect("cut");
        let mut capture = CaptureFile::open(&input, &output).expect("a capture");
        let mut batch = Vec::new();
        capture.receive(&mut batch, 1).expect("the first is whole");
        batch.drain(..).for_each(|held| capture.release(held));
        let error = capture.receive(&mut batch, 1).expect_err("cut").to_string();
        assert!(error.contains("in.pcap ends in the middle of a packet") && error.contains("(packet 1,"), "{error}");
        let same = CaptureFile::open(&input, &input).err().expect("refused").to_string();
        assert!(same.ends_with("is both read and written; write to another file"));
    }

    #[test]
    fn takes_packets_cut_by_the_snap_length_and_keeps_the_resolution() {
        let dir = tempfile::tempdir().expect("a directory");
        let (input, output) = (dir.path().join("in.pcap"), dir.path().join("out.pcap"));
        let header = PcapHeader { snaplen: 8, ..PcapHeader::default() };
        let mut writer = PcapWriter::with_header(File::create(&input).expect("a file"), header).expect("a header");
        let cut = pcap_file::pcap::RawPcapPacket {
            ts_sec: 5,
            ts_frac: 7,
            incl_len: 4,
            orig_len: 60,
            data: b"abcd"[..].into(),
        };
        writer.write_raw_packet(&cut).expect("a packet");
        drop(writer);
        let mut capture = CaptureFile::open(&input, &output).expect("a capture");
        assert_eq!(capture.next_time().expect("readable"), Some(Duration::new(5, 7_000)));
        let mut batch = Vec::new();
        capture.receive(&mut batch, 1).expect("readable");
        batch.drain(..).for_each(|held| capture.send(held));
        capture.finish().expect("written");
        let bytes = std::fs::read(&output).expect("written");
        let magic = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        assert!([0xa1b2_c3d4, 0xd4c3_b2a1].contains(&magic), "microseconds, as they came");
        assert!(bytes.ends_with(b"abcd"));
    }
}
