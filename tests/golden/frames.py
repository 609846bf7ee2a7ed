"""Frames and packets that come in: short names for what the cases are made of."""

import json
import pathlib

from scapy.all import (
    ICMP,
    IP,
    SCTP,
    TCP,
    UDP,
    Dot1Q,
    Ether,
    ICMPv6EchoRequest,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    PadN,
    Raw,
)

HERE = pathlib.Path(__file__).parent
SERVICES = {service["name"]: service for service in json.loads((HERE / "set.json").read_text())["services"]}

MAC, ROUTER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:fd"
BROADCAST_MAC = "ff:ff:ff:ff:ff:ff"
# Of each kind of group address one: all stations, IPv6's, IPv4's, a bridge's own, a locally administered one.
GROUP_MACS = (BROADCAST_MAC, "33:33:00:00:00:01", "01:00:5e:00:00:01", "01:80:c2:00:00:00", "03:00:00:00:00:01")
# Another station's on the same link.
OTHER_MAC = "02:00:00:00:00:77"
CLIENT4, CLIENT6 = "198.18.0.7", "2001:db8:c::7"
ROUTER4, ROUTER6 = "198.19.9.9", "2001:db8:d::9"
# Nobody elsewhere has these (RFC 1122, section 3.2.1.3).
CANNOT_SEND4 = ("0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255")
CANNOT_SEND6 = ("::", "::1", "ff02::1")


def ether(inner, vlan=None, src=ROUTER_MAC, dst=MAC, ethertype=None):
    """A frame around a packet of scapy's, or around bytes; the EtherType is that of the packet's version."""
    inner = bytes(inner)
    if ethertype is None:
        ethertype = 0x0800 if inner[0] >> 4 == 4 else 0x86DD
    if vlan is None:
        return bytes(Ether(src=src, dst=dst, type=ethertype) / Raw(inner))
    return bytes(Ether(src=src, dst=dst) / Dot1Q(vlan=vlan, type=ethertype) / Raw(inner))


def ip4(vip, **fields):
    return IP(**{"src": CLIENT4, "dst": vip, "ttl": 57, "id": 0x1234, **fields})


def ip6(vip, **fields):
    return IPv6(**{"src": CLIENT6, "dst": vip, "hlim": 57, "fl": 0xABCDE, **fields})


def tcp(dport=80, sport=40001, flags="S"):
    return TCP(sport=sport, dport=dport, flags=flags, seq=1000, window=64240)


def udp(dport=53, sport=40002):
    return UDP(sport=sport, dport=dport)


def ping(service, data=b"ping"):
    if is6(service):
        return ICMPv6EchoRequest(id=77, seq=3, data=data)
    return ICMP(type=8, id=77, seq=3) / Raw(data)


def hop_options(length=4):
    return IPv6ExtHdrHopByHop(options=[PadN(optdata=bytes(length))])


def destination_options(length=4):
    return IPv6ExtHdrDestOpt(options=[PadN(optdata=bytes(length))])


def vip(service):
    """The service's VIP, of a prefix the first address."""
    return SERVICES[service]["vip"].split("/")[0]


def is6(service):
    return ":" in vip(service)


def to(service, **fields):
    """An IP header from a client to a service."""
    return ip6(vip(service), **fields) if is6(service) else ip4(vip(service), **fields)


def of_length(total, service, upper=None, **fields):
    """A packet of exactly `total` bytes to a service: UDP, if nothing else is said, with a payload of a pattern."""
    header = to(service, **fields) / (udp() if upper is None else upper)
    body = bytes(at * 7 & 0xFF for at in range(total - len(bytes(header))))
    packet = header / Raw(body)
    assert len(bytes(packet)) == total
    return packet


def flow_of(packet):
    """Protocol, source port, destination port of a packet of scapy's."""
    for layer, protocol in ((TCP, 6), (UDP, 17), (SCTP, 132)):
        if packet.haslayer(layer):
            return protocol, packet[layer].sport, packet[layer].dport
    return (1 if isinstance(packet, IP) else 58), 0, 0


def pieces(packet, *cuts, id, next_header=None):
    """The fragments of a packet, cut before these bytes of its payload; IPv6's fragment header stands first.

    `next_header`: what the fragment headers of the later ones say instead, which means nothing (RFC 8200 4.5).
    """
    whole = bytes(packet)
    is4 = isinstance(packet, IP)
    data = whole[(whole[0] & 0xF) * 4 if is4 else 40 :]
    bounds = list(zip((0, *cuts), (*cuts, len(data))))
    made = []
    for start, end in bounds:
        assert start % 8 == 0
        more = end < len(data)
        body = Raw(data[start:end])
        if is4:
            header = ip4(packet.dst, src=packet.src, tos=packet.tos, proto=whole[9], id=id)
            header.flags, header.frag = ("MF" if more else 0), start // 8
            made.append(header / body)
        else:
            proto = next_header if start and next_header is not None else whole[6]
            header = ip6(packet.dst, src=packet.src, tc=packet.tc)
            made.append(header / IPv6ExtHdrFragment(nh=proto, offset=start // 8, m=int(more), id=id) / body)
    return made


def changed(packet, at, *values):
    """The bytes of a packet with some of them overwritten."""
    data = bytearray(bytes(packet))
    data[at : at + len(values)] = values
    return bytes(data)
