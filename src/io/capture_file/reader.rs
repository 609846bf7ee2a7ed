//! Reads packets from a pcap or pcapng file, whichever it is.

use std::fs::File;
use std::io::{self, Chain, Cursor, Read};
use std::time::Duration;

use pcap_file::pcap::PcapReader;
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::{Block, PcapNgReader};
use pcap_file::{DataLink, PcapError, TsResolution};

/// The first four bytes of a pcapng file, a palindrome so that they tell no byte order.
const PCAPNG_MAGIC: [u8; 4] = [0x0a, 0x0d, 0x0d, 0x0a];

/// What is wrong with a file, without its name.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// Neither format.
    #[error("is neither a pcap nor a pcapng file")]
    NotACapture,
    /// It ends too early.
    #[error("ends in the middle of a packet, or that packet's length is wrong")]
    CutShort,
    /// Its packets have another link header.
    #[error("has packets of link type {0:?}, but only Ethernet is understood")]
    NotEthernet(DataLink),
    /// A time that cannot be, or is too large for the file written.
    #[error("has a packet with an impossible time")]
    Time,
    /// A packet of an interface that the file does not describe.
    #[error("has a packet of interface {0}, which it does not describe")]
    NoInterface(u32),
    /// A packet larger than any.
    #[error("has a packet of {0} bytes, which is more than any can have")]
    TooLarge(usize),
    /// Anything else the format does not allow.
    #[error("is damaged: {0}")]
    Damaged(String),
    /// The file system's own error.
    #[error("cannot be read or written: {0}")]
    Io(io::Error),
}

impl From<PcapError> for Fault {
    fn from(error: PcapError) -> Self {
        match error {
            PcapError::IncompleteBuffer => Self::CutShort,
            PcapError::IoError(error) if error.kind() == io::ErrorKind::UnexpectedEof => Self::CutShort,
            PcapError::IoError(error) => Self::Io(error),
            other => Self::Damaged(other.to_string()),
        }
    }
}

type Input = Chain<Cursor<[u8; 4]>, File>;

/// What a file says of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Captured {
    /// When it was captured, since 1970.
    pub time: Duration,
    /// Its length on the wire in bytes; fewer may have been captured.
    pub len: u64,
}

pub(super) enum Reader {
    Pcap(PcapReader<Input>),
    // It keeps the section's options and interfaces with it, and so is much the larger.
    PcapNg(Box<PcapNgReader<Input>>, Duration),
}

impl Reader {
    pub fn new(mut file: File) -> Result<Self, Fault> {
        let mut magic = [0; 4];
        file.read_exact(&mut magic).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Fault::NotACapture,
            _ => Fault::Io(error),
        })?;
        let input = Cursor::new(magic).chain(file);
        if magic == PCAPNG_MAGIC {
            return Ok(Self::PcapNg(Box::new(PcapNgReader::new(input)?), Duration::ZERO));
        }
        let reader = PcapReader::new(input).map_err(|error| match error {
            PcapError::InvalidField(_) => Fault::NotACapture,
            other => other.into(),
        })?;
        check_link(reader.header().datalink)?;
        Ok(Self::Pcap(reader))
    }

    /// How fine the file's times are.
    pub fn resolution(&self) -> TsResolution {
        match self {
            Self::Pcap(reader) => reader.header().ts_resolution,
            Self::PcapNg(..) => TsResolution::NanoSecond,
        }
    }

    /// The next packet, with its captured bytes in `packet`. `None` at the end of the file.
    pub fn next(&mut self, packet: &mut Vec<u8>) -> Result<Option<Captured>, Fault> {
        packet.clear();
        match self {
            Self::Pcap(reader) => next_of_pcap(reader, packet),
            Self::PcapNg(reader, last) => {
                let captured = next_of_pcapng(reader, packet, *last)?;
                *last = captured.map_or(*last, |captured| captured.time);
                Ok(captured)
            }
        }
    }
}

/// Takes the raw packet: the crate's checked one refuses packets that the capture's snap length has cut.
fn next_of_pcap(reader: &mut PcapReader<Input>, into: &mut Vec<u8>) -> Result<Option<Captured>, Fault> {
    let resolution = reader.header().ts_resolution;
    let Some(packet) = reader.next_raw_packet().transpose()? else { return Ok(None) };
    let nanos = match resolution {
        TsResolution::MicroSecond => packet.ts_frac.checked_mul(1000),
        TsResolution::NanoSecond => Some(packet.ts_frac),
    };
    let nanos = nanos.filter(|nanos| *nanos < 1_000_000_000).ok_or(Fault::Time)?;
    into.extend_from_slice(&packet.data);
    Ok(Some(Captured { time: Duration::new(u64::from(packet.ts_sec), nanos), len: packet.orig_len.into() }))
}

/// `last` is the time of a packet whose block has none.
fn next_of_pcapng(
    reader: &mut PcapNgReader<Input>,
    into: &mut Vec<u8>,
    last: Duration,
) -> Result<Option<Captured>, Fault> {
    loop {
        let Some(block) = reader.next_block().transpose()? else { return Ok(None) };
        // Taken out of the block, which borrows the reader that knows the interface.
        let (interface, time, len) = match block {
            Block::EnhancedPacket(packet) => {
                into.extend_from_slice(&packet.data);
                // The crate takes the number for nanoseconds, whatever the interface's unit.
                let time = u64::try_from(packet.timestamp.as_nanos()).map_err(|_| Fault::Time)?;
                (packet.interface_id, Some(time), packet.original_len)
            }
            Block::Packet(packet) => {
                into.extend_from_slice(&packet.data);
                (u32::from(packet.interface_id), Some(packet.timestamp), packet.original_len)
            }
            Block::SimplePacket(packet) => {
                // The crate leaves the padding on.
                let len = packet.data.len().min(packet.original_len as usize);
                into.extend_from_slice(&packet.data[..len]);
                (0, None, packet.original_len)
            }
            _ => continue,
        };
        let interface = reader.interfaces().get(interface as usize).ok_or(Fault::NoInterface(interface))?;
        check_link(interface.linktype)?;
        if time.is_none() && interface.snaplen > 0 {
            into.truncate(interface.snaplen as usize);
        }
        let time = time.map_or(Ok(last), |units| time_of(units, interface))?;
        return Ok(Some(Captured { time, len: len.into() }));
    }
}

/// A pcapng time in its interface's unit: 10^-n seconds, or 2^-n with the top bit set; microseconds where it is not told.
fn time_of(units: u64, interface: &InterfaceDescriptionBlock<'_>) -> Result<Duration, Fault> {
    let (mut resolution, mut offset) = (6, 0);
    for option in &interface.options {
        match option {
            InterfaceDescriptionOption::IfTsResol(value) => resolution = *value,
            InterfaceDescriptionOption::IfTsOffset(value) => offset = *value,
            _ => {}
        }
    }
    let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
    let per_second = base.checked_pow(u32::from(resolution & 0x7f)).ok_or(Fault::Time)?;
    let nanos = u128::from(units)
        .checked_mul(1_000_000_000)
        .map(|scaled| scaled / per_second)
        .and_then(|nanos| u64::try_from(nanos).ok())
        .ok_or(Fault::Time)?;
    // A signed number of seconds.
    let seconds = (nanos / 1_000_000_000).checked_add_signed(offset as i64).ok_or(Fault::Time)?;
    Ok(Duration::new(seconds, (nanos % 1_000_000_000) as u32))
}

fn check_link(link: DataLink) -> Result<(), Fault> {
    if link == DataLink::ETHERNET { Ok(()) } else { Err(Fault::NotEthernet(link)) }
}
