//! `capture`: live packets to a pcapng file.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufWriter, ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use pcap_file::pcapng::PcapNgWriter;
use pcap_file::pcapng::blocks::enhanced_packet::{EnhancedPacketBlock, EnhancedPacketOption};
use pcap_file::pcapng::blocks::interface_description::{InterfaceDescriptionBlock, InterfaceDescriptionOption};
use pcap_file::pcapng::blocks::section_header::{SectionHeaderBlock, SectionHeaderOption};
use pcap_file::{DataLink, Endianness, PcapError};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde_json::{Value, json};
use signal_hook::consts::{SIGINT, SIGTERM};

use super::client::{Connection, print_json};
use super::out::warn;
use super::session::{Session, Told};
use super::words::{count, number, plain};

/// How often an interruption is looked for, where no packet comes.
const PATIENCE: Duration = Duration::from_millis(100);
/// The directions of a packet in its flags (pcapng, option `epb_flags`).
const INBOUND: u32 = 1;
const OUTBOUND: u32 = 2;
/// Times are in units of 10^-9 s (pcapng, option `if_tsresol`).
const NANOSECONDS: u8 = 9;

/// `pointsman capture`
#[derive(Debug, clap::Args)]
pub struct Capture {
    /// Dropped packets alone
    #[arg(long, conflicts_with = "verdict")]
    drops: bool,
    /// Packets that became this: forwarded, answered or dropped
    #[arg(long, value_parser = ["forwarded", "answered", "dropped"], hide_possible_values = true)]
    verdict: Option<String>,
    /// Packets of this service
    #[arg(long)]
    service: Option<String>,
    /// Packets to this endpoint of the service
    #[arg(long, requires = "service")]
    endpoint: Option<String>,
    /// Packets sent by this address, or by one of this prefix
    #[arg(long, value_name = "PREFIX")]
    client: Option<String>,
    /// One in N of these packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000), default_value_t = 1)]
    sample: u32,
    /// The most bytes of each packet
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u32).range(64..=4096), default_value_t = 4096)]
    snap: u32,
    /// End after so many packets
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// End after so many seconds
    #[arg(long, value_name = "N")]
    seconds: Option<u64>,
    /// The file to write; - writes to standard output
    #[arg(value_name = "OUT.pcap")]
    out: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

/// Writes packets until there were enough, or somebody interrupts.
pub fn capture(args: &Capture) -> Result<()> {
    let mut session = args.connection.open()?;
    let begun = session.ask("capture", &args.params())?;
    let ended = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // The second one ends it at once: it may be waiting for a daemon that hangs, or for whoever reads what it writes.
        signal_hook::flag::register_conditional_shutdown(signal, 1, ended.clone()).context("signals")?;
        signal_hook::flag::register(signal, ended.clone()).context("signals")?;
    }
    let mut file = PacketFile::create(&args.out, &plain(&begun["interface"]), args.snap)?;
    let end = args.seconds.map(|seconds| Instant::now() + Duration::from_secs(seconds));
    let (mut packets, mut missed) = (0, 0);
    let result = loop {
        let is_over = ended.load(Ordering::Relaxed)
            || args.count.is_some_and(|count| packets >= count)
            || end.is_some_and(|end| Instant::now() >= end);
        if is_over {
            break Ok(());
        }
        if !session.has_read_ahead() {
            file.flush()?;
            if !has_more(&session) {
                continue;
            }
        }
        match session.packet_or_event() {
            Ok(Told::Packet(packet)) => {
                file.add(&packet)?;
                (packets, missed) = (packets + 1, number(&packet["missed"]));
            }
            Ok(Told::Event(event)) => args.tell_event(&event),
            Err(error) => break Err(error),
        }
    };
    file.flush()?;
    args.tell(packets, missed);
    Ok(result?)
}

impl Capture {
    fn params(&self) -> Value {
        let verdict = if self.drops { Some("dropped") } else { self.verdict.as_deref() };
        json!({
            "verdict": verdict,
            "service": self.service,
            "endpoint": self.endpoint,
            "client": self.client,
            "sample": self.sample,
            "snap": self.snap,
        })
    }

    fn tell_event(&self, event: &Value) {
        let what = self.endpoint.as_ref().or(self.service.as_ref()).filter(|_| event["type"] == "capture");
        let Some(what) = what else { return };
        if event["present"] == true {
            warn(&format!("{what} is there again"));
        } else {
            warn(&format!("{what} is gone; there is nothing to show until it comes back"));
        }
    }

    /// Says what there is now; not among the packets, where they go to standard output.
    fn tell(&self, packets: u64, missed: u64) {
        if self.connection.json && self.out != Path::new("-") {
            return print_json(&json!({ "packets": packets, "missed": missed, "file": self.out }));
        }
        let lost = if missed > 0 { format!(", and {missed} more that could not be shown") } else { String::new() };
        _ = writeln!(std::io::stderr(), "{}: {}{lost}", self.out.display(), count(packets, "packet"));
    }
}

/// Whether the daemon has said something; waits for that for a moment.
fn has_more(session: &Session) -> bool {
    let limit = Timespec::try_from(PATIENCE).ok();
    poll(&mut [PollFd::new(session.stream(), PollFlags::IN)], limit.as_ref()).is_ok_and(|ready| ready > 0)
}

/// A pcapng file of one interface.
struct PacketFile {
    place: PathBuf,
    writer: PcapNgWriter<BufWriter<Box<dyn Write>>>,
}

impl PacketFile {
    fn create(path: &Path, interface: &str, snap: u32) -> Result<Self> {
        let out: Box<dyn Write> = if path == Path::new("-") {
            Box::new(std::io::stdout())
        } else {
            Box::new(File::create(path).with_context(|| format!("{}: cannot be written", path.display()))?)
        };
        let program = format!("pointsman {}", env!("CARGO_PKG_VERSION"));
        let section = SectionHeaderBlock {
            endianness: Endianness::native(),
            options: vec![SectionHeaderOption::UserApplication(program.into())],
            ..SectionHeaderBlock::default()
        };
        let place = path.to_owned();
        let writer = PcapNgWriter::with_section_header(BufWriter::new(out), section);
        let mut file = Self { writer: writer.map_err(|error| failed(&place, &error))?, place };
        let options = vec![
            InterfaceDescriptionOption::IfName(interface.to_owned().into()),
            InterfaceDescriptionOption::IfTsResol(NANOSECONDS),
        ];
        let described = InterfaceDescriptionBlock { linktype: DataLink::ETHERNET, snaplen: snap, options };
        file.writer.write_pcapng_block(described).map_err(|error| failed(&file.place, &error))?;
        Ok(file)
    }

    /// Adds a packet as it came, and as it left, if it did.
    fn add(&mut self, packet: &Value) -> Result<()> {
        let comment = comment(packet);
        self.write(packet, "came", (INBOUND, comment.clone()))?;
        if packet["left"].is_object() {
            self.write(packet, "left", (OUTBOUND, comment))?;
        }
        Ok(())
    }

    fn write(&mut self, packet: &Value, side: &str, (direction, comment): (u32, String)) -> Result<()> {
        let excerpt = &packet[side];
        let bytes = excerpt["bytes"].as_str().and_then(|text| STANDARD.decode(text).ok());
        let data = bytes.ok_or_else(|| anyhow!("what the daemon shows is no packet"))?;
        let length = u32::try_from(number(&excerpt["length"])).unwrap_or(u32::MAX);
        let block = EnhancedPacketBlock {
            interface_id: 0,
            timestamp: Duration::from_nanos(number(&packet["time"])),
            original_len: length.max(data.len() as u32),
            data: Cow::Owned(data),
            options: vec![EnhancedPacketOption::Comment(comment.into()), EnhancedPacketOption::Flags(direction)],
        };
        self.writer.write_pcapng_block(block).map(drop).map_err(|error| failed(&self.place, &error))
    }

    fn flush(&mut self) -> Result<()> {
        self.writer.get_mut().flush().map_err(|error| failed(&self.place, &PcapError::IoError(error)))
    }
}

/// What became of a packet, in words.
fn comment(packet: &Value) -> String {
    let mut words = plain(&packet["verdict"]);
    if packet["reason"].is_string() {
        words += &format!(": {}", plain(&packet["reason"]));
    }
    for part in ["service", "endpoint", "worker", "queue"] {
        if !packet[part].is_null() {
            words += &format!(", {part} {}", plain(&packet[part]));
        }
    }
    words
}

/// Why nothing more can be written. Where nobody reads any more there is nothing left to do.
fn failed(place: &Path, error: &PcapError) -> anyhow::Error {
    match error {
        PcapError::IoError(error) if error.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        PcapError::IoError(error) => anyhow!("{}: cannot be written: {error}", place.display()),
        other => anyhow!("{}: {other}", place.display()),
    }
}
