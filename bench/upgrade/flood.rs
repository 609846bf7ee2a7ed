//! Datagrams of ever new flows, as fast as one thread sends them.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use pnet::datalink::{Channel, Config, DataLinkSender, channel, interfaces};
use pnet::packet::MutablePacket;
use pnet::packet::ethernet::{EtherTypes, MutableEthernetPacket};
use pnet::packet::ip::IpNextHeaderProtocols;
use pnet::packet::ipv4::{MutableIpv4Packet, checksum};
use pnet::packet::udp::MutableUdpPacket;
use pnet::util::MacAddr;

use testkit::Namespace;

const ETHERNET: usize = 14;
const IPV4: usize = 20;
const LEN: usize = ETHERNET + IPV4 + 8 + 18;

/// Ends when dropped.
pub struct Flood {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Flood {
    /// From the client's link to a VIP by way of the edge node.
    pub fn start(client: &Namespace, edge: &Namespace, vip: IpAddr) -> Self {
        let IpAddr::V4(vip) = vip else { panic!("{vip} is no IPv4 address") };
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, to) = (Arc::clone(&stop), edge.inside(|| link().1));
        let thread = client.thread(move || {
            let (mut sender, from) = link();
            let mut frame = frame(from, to, vip);
            for flow in 0.. {
                if stopped.load(Ordering::Relaxed) {
                    return;
                }
                number(&mut frame, flow);
                // What does not fit is not missed: the next flow is as good.
                _ = sender.send_to(&frame, None);
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Flood {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            _ = thread.join();
        }
    }
}

/// The link of the calling thread's namespace, and its address.
fn link() -> (Box<dyn DataLinkSender>, MacAddr) {
    let link = interfaces().into_iter().find(|link| link.name == "eth0").expect("it has a link");
    let Ok(Channel::Ethernet(sender, _)) = channel(&link, Config::default()) else { panic!("root may send frames") };
    (sender, link.mac.expect("a veth has an address"))
}

fn frame(from: MacAddr, to: MacAddr, vip: Ipv4Addr) -> [u8; LEN] {
    let mut frame = [0; LEN];
    let mut ethernet = MutableEthernetPacket::new(&mut frame).expect("it is long enough");
    ethernet.set_source(from);
    ethernet.set_destination(to);
    ethernet.set_ethertype(EtherTypes::Ipv4);
    let mut ip = MutableIpv4Packet::new(ethernet.payload_mut()).expect("it is long enough");
    ip.set_version(4);
    ip.set_header_length(5);
    ip.set_total_length((LEN - ETHERNET) as u16);
    ip.set_ttl(64);
    ip.set_next_level_protocol(IpNextHeaderProtocols::Udp);
    ip.set_destination(vip);
    let mut udp = MutableUdpPacket::new(ip.payload_mut()).expect("it is long enough");
    udp.set_destination(9);
    udp.set_length((LEN - ETHERNET - IPV4) as u16);
    frame
}

/// Makes it a packet of this flow.
fn number(frame: &mut [u8; LEN], flow: u32) {
    let mut ip = MutableIpv4Packet::new(&mut frame[ETHERNET..]).expect("it is long enough");
    ip.set_source(Ipv4Addr::from(0x0a00_0000 | flow >> 14));
    ip.set_checksum(0);
    let sum = checksum(&ip.to_immutable());
    ip.set_checksum(sum);
    let mut udp = MutableUdpPacket::new(ip.payload_mut()).expect("it is long enough");
    udp.set_source(0x8000 | (flow & 0x3fff) as u16);
}
