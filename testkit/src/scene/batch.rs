//! Frames as the packet memory of the daemon has them: in chunks of 2,048 bytes, 256 of them in front.

use pointsman::forward::ahead::Frames;
use pointsman::frame::{Frame, Span};
use pointsman::io::HEADROOM;
use pointsman::wire::ethernet::HEADER_LEN as ETHERNET_LEN;
use pointsman::wire::l4::protocol;
use pointsman::wire::{Family, ipv4};

/// Frames of a batch.
pub const BATCH: usize = 64;
/// Length of a frame, in bytes.
pub const FRAME_LEN: usize = 128;
const CHUNK: usize = 2_048;

/// What kind of packets come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Segments of TCP connections.
    Segment,
    /// The first ones of TCP connections.
    Syn,
    /// UDP datagrams.
    Datagram,
}

/// The frames of one batch.
pub struct Batch {
    memory: Vec<u8>,
    family: Family,
    services: u32,
    template: [u8; FRAME_LEN],
}

impl Batch {
    /// A batch for the VIPs of so many services.
    pub fn new(family: Family, kind: Kind, services: u32) -> Self {
        Self { memory: vec![0; BATCH * CHUNK], family, services, template: template(family, kind) }
    }

    /// Makes the next frame, at one place of the batch, one of this flow. Flows take turns with VIPs.
    pub fn fill(&mut self, at: usize, flow: u32) {
        let mut frame = self.template;
        let (client, vip) = (flow >> 6, flow % self.services);
        let upper = match self.family {
            Family::V4 => {
                let ip = &mut frame[ETHERNET_LEN..ETHERNET_LEN + ipv4::HEADER_LEN];
                ip[12..16].copy_from_slice(&(0x0a00_0000 | client).to_be_bytes());
                ip[16..20].copy_from_slice(&(VIPS_V4 + vip).to_be_bytes());
                ipv4::set_checksum(ip);
                ETHERNET_LEN + ipv4::HEADER_LEN
            }
            Family::V6 => {
                let ip = &mut frame[ETHERNET_LEN..];
                ip[20..24].copy_from_slice(&client.to_be_bytes());
                ip[36..40].copy_from_slice(&vip.to_be_bytes());
                ETHERNET_LEN + 40
            }
        };
        frame[upper..upper + 2].copy_from_slice(&(40_000 + (flow & 63) as u16).to_be_bytes());
        let start = at * CHUNK + HEADROOM;
        self.memory[start..start + FRAME_LEN].copy_from_slice(&frame);
    }

    /// Shows the frames one after the other, each as it came in.
    #[inline(always)]
    pub fn each(&mut self, mut show: impl FnMut(Frame<'_>)) {
        for chunk in self.memory.chunks_exact_mut(CHUNK) {
            if let Some(frame) = Frame::new(chunk, Span { start: HEADROOM, len: FRAME_LEN }) {
                show(frame);
            }
        }
    }

    /// The frame at one place, as it came in.
    #[inline]
    pub fn frame(&mut self, at: usize) -> Option<Frame<'_>> {
        let chunk = self.memory.get_mut(at * CHUNK..(at + 1) * CHUNK)?;
        Frame::new(chunk, Span { start: HEADROOM, len: FRAME_LEN })
    }

    /// The frame at one place.
    pub fn bytes(&self, at: usize) -> &[u8] {
        &self.memory[at * CHUNK + HEADROOM..at * CHUNK + HEADROOM + FRAME_LEN]
    }
}

impl Frames for Batch {
    fn count(&self) -> usize {
        BATCH
    }

    #[inline]
    fn packet(&mut self, at: usize) -> &[u8] {
        self.frame(at).map_or(&[], Frame::into_bytes)
    }
}

/// The first IPv4 VIP: 203.0.0.0.
pub const VIPS_V4: u32 = 0xcb00_0000;

fn template(family: Family, kind: Kind) -> [u8; FRAME_LEN] {
    let number = if kind == Kind::Datagram { protocol::UDP } else { protocol::TCP };
    let mut frame = Vec::with_capacity(FRAME_LEN);
    frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
    frame.extend(family.ethertype().to_be_bytes());
    let len = FRAME_LEN - ETHERNET_LEN;
    match family {
        Family::V4 => frame.extend([0x45, 0, 0, len as u8, 0, 0, 0x40, 0, 64, number, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        Family::V6 => {
            frame.extend([0x60, 0, 0, 0, 0, (len - 40) as u8, number, 64]);
            frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
            frame.extend([0x20, 0x01, 0x0d, 0xb8, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        }
    }
    let upper_len = (FRAME_LEN - frame.len()) as u8;
    frame.extend([0, 0, 0, 80]);
    match kind {
        Kind::Datagram => frame.extend([0, upper_len, 0, 0]),
        Kind::Segment => frame.extend([0, 0, 0, 1, 0, 0, 0, 1, 0x50, 0x10, 0xff, 0xff, 0, 0, 0, 0]),
        Kind::Syn => frame.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x02, 0xff, 0xff, 0, 0, 0, 0]),
    }
    frame.resize(FRAME_LEN, 0);
    let mut bytes = [0; FRAME_LEN];
    bytes.copy_from_slice(&frame);
    bytes
}
