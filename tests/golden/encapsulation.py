"""What leaves: outer headers built by scapy, and the inner packet in parts (RFC 791) where it does not fit."""

import struct

from scapy.all import GRE, IP, UDP, Dot1Q, Ether, IPv6, Raw
from scapy.contrib.mpls import MPLS
from scapy.utils import checksum

from flow_hash import flow_hash, flow_label, gue_source_port, outer_source
from frames import MAC, SERVICES, vip

GUE_PORT = 6080
MPLS_ETHERTYPE = 0x8847


def endpoint_of(service):
    return SERVICES[service]["endpoints"][0]


def encap_of(service):
    return SERVICES[service].get("encap", {"type": "gre"})


def overhead(service):
    """Bytes that the outer headers of a service add."""
    encap = encap_of(service)
    address = 40 if ":" in endpoint_of(service)["address"] else 20
    if encap["type"] == "mpls":
        return 4 + (address + 4 if encap.get("over") == "gre" else 0)
    return address + {"gre": 8 if "key" in encap else 4, "ipip": 0, "gue": 12}[encap["type"]]


def encapsulated(inner, service, hash_, underlay, vlan):
    """The frame that leaves with this packet (bytes) inside, as bytes."""
    is4 = inner[0] >> 4 == 4
    traffic_class = inner[1] if is4 else (inner[0] << 4 | inner[1] >> 4) & 0xFF
    dscp = underlay.get("dscp", "copy")
    if dscp != "copy":
        traffic_class = dscp << 2 | traffic_class & 3

    encap = encap_of(service)
    if encap["type"] == "mpls":
        entry = label_stack_entry(encap, service, traffic_class, underlay) / Raw(inner)
        if "over" not in encap:
            return link(underlay, vlan, MPLS_ETHERTYPE) + bytes(entry)
        inner_headers = GRE(proto=MPLS_ETHERTYPE) / entry
    elif encap["type"] == "gre":
        inner_headers = GRE(proto=0x0800 if is4 else 0x86DD) / Raw(inner)
        if "key" in encap:
            inner_headers.key_present, inner_headers.key = 1, encap["key"]
    elif encap["type"] == "gue":
        inner_headers = gue(encap, service, hash_) / Raw(bytes([0, 4 if is4 else 41, 0, 0]) + inner)
    else:
        inner_headers = Raw(inner)
    protocol = {"gre": 47, "mpls": 47, "gue": 17, "ipip": 4 if is4 else 41}[encap["type"]]

    address = endpoint_of(service)["address"]
    if ":" in address:
        source = outer_source(underlay["source_v6"], hash_)
        outer = IPv6(src=source, dst=address, tc=traffic_class, fl=flow_label(hash_))
        outer.hlim, outer.nh, ethertype = underlay["hop_limit"], protocol, 0x86DD
    else:
        source = outer_source(underlay["source_v4"], hash_)
        outer = IP(src=source, dst=address, tos=traffic_class, flags="DF", id=0)
        outer.ttl, outer.proto, ethertype = underlay["hop_limit"], protocol, 0x0800
    return link(underlay, vlan, ethertype) + bytes(outer / inner_headers)


def link(underlay, vlan, ethertype):
    header = Ether(src=MAC, dst=underlay["next_hop"], type=ethertype if vlan is None else 0x8100)
    return bytes(header if vlan is None else header / Dot1Q(vlan=vlan, type=ethertype))


def label_stack_entry(encap, service, traffic_class, underlay):
    """One entry (RFC 3032); without a label of its own, explicit null for the inner packet's family."""
    explicit_null = 2 if ":" in vip(service) else 0
    return MPLS(label=encap.get("label", explicit_null), cos=traffic_class >> 5, s=1, ttl=underlay["hop_limit"])


def gue(encap, service, hash_):
    """The UDP header in front of GUE's; scapy computes the checksum where none is given, and sends 0 as 0xffff."""
    header = UDP(sport=gue_source_port(hash_), dport=encap.get("port", GUE_PORT))
    over6 = ":" in endpoint_of(service)["address"]
    if not encap.get("checksum", over6):
        header.chksum = 0
    return header


def hash_of(service, client, destination, flow, seed):
    return flow_hash(seed, client, destination, flow, SERVICES[service].get("affinity", "flow"))


def parts_of(packet, room):
    """An IPv4 packet (bytes) in parts of at most `room` bytes (RFC 791 section 3.2), as bytes.

    Only the first has the options without the copy bit; the options of the others are padded with zeros.
    """
    length = (packet[0] & 0xF) * 4
    first_options, data = packet[20:length], packet[length:]
    flags_and_offset = struct.unpack("!H", packet[6:8])[0]
    more_behind, offset = flags_and_offset & 0x2000, flags_and_offset & 0x1FFF
    later_options = b"".join(option for option in options_in(first_options) if option[0] & 0x80)
    later_options += bytes(-len(later_options) % 4)

    parts, at = [], 0
    while at < len(data):
        options = later_options if at else first_options
        fits = room - 20 - len(options)
        take = len(data) - at if len(data) - at <= fits else fits // 8 * 8
        more = 0x2000 if at + take < len(data) else more_behind
        header = bytearray(packet[:20] + options)
        header[0] = 0x40 | len(header) // 4
        header[2:4] = (len(header) + take).to_bytes(2, "big")
        header[6:8] = (more | offset + at // 8).to_bytes(2, "big")
        header[10:12] = bytes(2)
        header[10:12] = checksum(bytes(header)).to_bytes(2, "big")
        parts.append(bytes(header) + data[at : at + take])
        at += take
    return parts


def options_in(area):
    """The options of an IPv4 header, one by one, as bytes; the end of the list ends it."""
    at = 0
    while at < len(area) and area[at] != 0:
        length = 1 if area[at] == 1 else area[at + 1]
        yield area[at : at + length]
        at += length
