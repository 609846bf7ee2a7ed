//! The clients' packets as frames, and as the simulator itself knows their flows.

use pointsman::flow::{FlowKey, address_bits};
use pointsman::wire::l4::{Ports, protocol};

use super::clients::Part;
use super::random::Random;

/// The one VIP.
pub const VIP: [u8; 4] = [203, 0, 113, 10];
const PORT: u16 = 443;
/// Ports of one client address.
const PORTS: u64 = 50_000;

/// A client's address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Client {
    address: [u8; 4],
    port: u16,
}

impl Client {
    /// That of a flow, by number: no two flows share it.
    pub fn of(flow: u64) -> Self {
        let address = 0x0a00_0000 | (flow / PORTS) as u32;
        Self { address: address.to_be_bytes(), port: 10_000 + (flow % PORTS) as u16 }
    }

    /// One that has no flow.
    pub fn forged(random: &mut Random) -> Self {
        let bits = random.any();
        Self { address: (0x2000_0000 | (bits as u32) >> 3).to_be_bytes(), port: (bits >> 48) as u16 }
    }

    /// The flow's key.
    pub fn key(self, part: Part) -> FlowKey {
        FlowKey {
            source: address_bits(self.address.into()),
            destination: address_bits(VIP.into()),
            ports: Ports { source: self.port, destination: PORT },
            protocol: if part == Part::Datagram { protocol::UDP } else { protocol::TCP },
        }
    }

    /// The frame with this part of the flow.
    pub fn frame(self, part: Part) -> Vec<u8> {
        let flags = match part {
            Part::Syn => 0x02,
            Part::Segment => 0x10,
            Part::Fin => 0x11,
            Part::Datagram => return self.ip(protocol::UDP, &[0, 12, 0, 0, b'p', b'i', b'n', b'g']),
        };
        self.ip(protocol::TCP, &[0, 0, 0, 1, 0, 0, 0, 1, 0x50, flags, 0xff, 0xff, 0, 0, 0, 0])
    }

    fn ip(self, protocol: u8, behind_ports: &[u8]) -> Vec<u8> {
        let len = 24 + behind_ports.len();
        let mut frame = Vec::with_capacity(14 + len);
        frame.extend([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
        frame.extend([0x45, 0, 0, len as u8, 0, 0, 0x40, 0, 64, protocol, 0, 0]);
        frame.extend(self.address);
        frame.extend(VIP);
        frame.extend(self.port.to_be_bytes());
        frame.extend(PORT.to_be_bytes());
        frame.extend(behind_ports);
        frame
    }
}
