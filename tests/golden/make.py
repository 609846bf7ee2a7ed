#!/usr/bin/python3
"""Writes cases.json: frames that come in, and what must become of each.

Everything expected here is made without a line of pointsman: scapy (2.5, Debian's python3-scapy) builds the outer
headers with their lengths and checksums, and this script follows the flow hash's definition by itself. Run it after
changing a case, and commit what it writes:

    cd tests/golden && ./make.py

A case has: description, config (where it is not config.toml), in (hex), verdict, reason (of a drop), service and
endpoint (null: there must be none; absent: not looked at), out (hex).
"""

import ipaddress
import json
import os
import pathlib
import subprocess
import sys
import tomllib

from scapy.all import (
    ARP,
    GRE,
    ICMP,
    IP,
    TCP,
    UDP,
    Dot1Q,
    Ether,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPOption_NOP,
    IPOption_RR,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    PadN,
    Raw,
    SCTP,
    SCTPChunkInit,
)

HERE = pathlib.Path(__file__).parent
CONFIG = tomllib.loads((HERE / "config.toml").read_text())
DSCP_CONFIG = tomllib.loads((HERE / "dscp.toml").read_text())
SERVICES = {service["name"]: service for service in json.loads((HERE / "set.json").read_text())["services"]}

ROUTER_MAC = "02:00:00:00:00:fd"
CLIENT4, CLIENT6 = "198.18.0.7", "2001:db8:c::7"
MAC = CONFIG["interface"]["mac"]
UNDERLAY = CONFIG["underlay"]
WITH_PORTS = {6, 17, 33, 132, 136}
CASES = []


# --- the flow hash, by its definition -------------------------------------------------------------------------------


def siphash13(key, data):
    """SipHash-1-3 (Aumasson and Bernstein), 64 bits."""
    mask = (1 << 64) - 1
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v0, v1, v2, v3 = (
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    )

    def rotate(x, bits):
        return ((x << bits) | (x >> (64 - bits))) & mask

    def round_():
        nonlocal v0, v1, v2, v3
        v0 = (v0 + v1) & mask
        v1 = rotate(v1, 13) ^ v0
        v0 = rotate(v0, 32)
        v2 = (v2 + v3) & mask
        v3 = rotate(v3, 16) ^ v2
        v0 = (v0 + v3) & mask
        v3 = rotate(v3, 21) ^ v0
        v2 = (v2 + v1) & mask
        v1 = rotate(v1, 17) ^ v2
        v2 = rotate(v2, 32)

    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for word in words:
        v3 ^= word
        round_()
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        round_()
    return v0 ^ v1 ^ v2 ^ v3


def check_siphash():
    """CPython hashes bytes by SipHash-1-3, with a key drawn from PYTHONHASHSEED by a small generator."""
    assert sys.hash_info.algorithm == "siphash13", "needs a CPython of 3.11 or later"
    for seed in (0, 1, 4242):
        key, state = bytearray(), seed
        for _ in range(16):
            state = (state * 214013 + 2531011) & 0xFFFFFFFF
            key.append(state >> 16 & 0xFF)
        key = bytes(16) if seed == 0 else bytes(key)
        for length in (1, 7, 8, 38, 64):
            data = bytes(range(length))
            command = [sys.executable, "-c", f"print(hash({data!r}) & (1 << 64) - 1)"]
            theirs = subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": str(seed)})
            assert int(theirs) == siphash13(key, data), (seed, length)


def flow_label(src, dst, flow, affinity):
    """The low 20 bits of the flow hash, or 1 where those are 0. `flow` is protocol, source port, destination port."""

    def sixteen(address):
        address = ipaddress.ip_address(address)
        return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed

    protocol, sport, dport = flow if affinity == "flow" else (0, 0, 0)
    assert protocol in WITH_PORTS or (sport, dport) == (0, 0)
    data = (
        sixteen(src)
        + sixteen(dst)
        + sport.to_bytes(2, "big")
        + dport.to_bytes(2, "big")
        + bytes([protocol, 0 if affinity == "flow" else 1])
    )
    assert len(data) == 38
    return siphash13(bytes.fromhex(CONFIG["hash"]["seed"]), data) & 0xFFFFF or 1


# --- frames ---------------------------------------------------------------------------------------------------------


def ether(inner, vlan=None, src=ROUTER_MAC, dst=MAC, ethertype=None):
    """A frame around a packet of scapy's, or around bytes with an `ethertype`."""
    if ethertype is None:
        ethertype = 0x0800 if isinstance(inner, IP) else 0x86DD
    payload = Raw(bytes(inner))
    if vlan is None:
        return bytes(Ether(src=src, dst=dst, type=ethertype) / payload)
    return bytes(Ether(src=src, dst=dst) / Dot1Q(vlan=vlan, type=ethertype) / payload)


def ip4(vip, **fields):
    return IP(**{"src": CLIENT4, "dst": vip, "ttl": 57, "id": 0x1234, **fields})


def ip6(vip, **fields):
    return IPv6(**{"src": CLIENT6, "dst": vip, "hlim": 57, "fl": 0xABCDE, **fields})


def tcp(dport=80, sport=40001, flags="S"):
    return TCP(sport=sport, dport=dport, flags=flags, seq=1000, window=64240)


def udp(dport=53, sport=40002):
    return UDP(sport=sport, dport=dport)


def vip(service):
    return SERVICES[service]["vip"].split("/")[0]


def to(service, **fields):
    """An IP header from a client to a service."""
    return ip6(vip(service), **fields) if ":" in vip(service) else ip4(vip(service), **fields)


def flow_of(inner):
    for layer, protocol in ((TCP, 6), (UDP, 17), (SCTP, 132)):
        if inner.haslayer(layer):
            return protocol, inner[layer].sport, inner[layer].dport
    return (1 if isinstance(inner, IP) else 58), 0, 0


def encapsulated(inner, service, flow, config, vlan):
    """The frame that leaves, built by scapy."""
    endpoint = SERVICES[service]["endpoints"][0]["address"]
    is4 = isinstance(inner, IP)
    traffic_class = inner.tos if is4 else inner.tc
    dscp = config["underlay"].get("dscp", "copy")
    if dscp != "copy":
        traffic_class = dscp << 2 | traffic_class & 3
    if ":" in endpoint:
        label = flow_label(inner.src, inner.dst, flow, SERVICES[service].get("affinity", "flow"))
        outer = IPv6(src=UNDERLAY["source_v6"], dst=endpoint, tc=traffic_class, fl=label, hlim=UNDERLAY["hop_limit"])
    else:
        outer = IP(
            src=UNDERLAY["source_v4"], dst=endpoint, tos=traffic_class, flags="DF", id=0, ttl=UNDERLAY["hop_limit"]
        )
    gre = GRE(proto=0x0800 if is4 else 0x86DD)
    key = SERVICES[service].get("encap", {}).get("key")
    if key is not None:
        gre.key_present, gre.key = 1, key
    packet = outer / gre / Raw(bytes(inner))
    link = Ether(src=MAC, dst=UNDERLAY["next_hop"])
    return bytes(link / packet if vlan is None else link / Dot1Q(vlan=vlan) / packet)


# --- cases ----------------------------------------------------------------------------------------------------------


def case(description, frame, verdict, config="config.toml", **more):
    entry = {"description": description, "in": frame.hex(), "verdict": verdict, **more}
    if config != "config.toml":
        entry["config"] = config
    order = ["description", "config", "in", "verdict", "reason", "service", "endpoint", "out"]
    CASES.append({key: entry[key] for key in order if key in entry})


def forwarded(description, inner, service, flow=None, vlan=None, padding=b"", config="config.toml"):
    settings = DSCP_CONFIG if config == "dscp.toml" else CONFIG
    out = encapsulated(inner, service, flow or flow_of(inner), settings, vlan)
    case(
        description,
        ether(inner, vlan) + padding,
        "forwarded",
        config,
        service=service,
        endpoint=SERVICES[service]["endpoints"][0]["name"],
        out=out.hex(),
    )


def answered(description, question, answer, vlan=None, padding=b""):
    out = ether(answer, vlan, src=MAC, dst=ROUTER_MAC)
    case(description, ether(question, vlan) + padding, "answered", endpoint=None, out=out.hex())


def dropped(description, frame, reason, **more):
    if not isinstance(frame, bytes):
        frame = ether(frame)
    case(description, frame, "dropped", reason=reason, **more)


def passed(description, frame):
    case(description, frame, "passed", service=None, endpoint=None)


def changed(packet, at, *values):
    """The bytes of a packet with some of them overwritten."""
    data = bytearray(bytes(packet))
    data[at : at + len(values)] = values
    return bytes(data)


def family_mixes():
    body = Raw(b"GET / HTTP/1.1\r\n\r\n")
    for six in ("", "6"):
        for by in ("", "-by-v4"):
            where = f"IPv{six or 4} over IPv{'4' if by else '6'}"
            forwarded(f"TCP SYN, {where}", to(f"web{six}{by}") / tcp(), f"web{six}{by}")
            forwarded(f"TCP with data, {where}", to(f"web{six}{by}") / tcp(flags="PA") / body, f"web{six}{by}")
            forwarded(f"UDP, {where}", to(f"dns{six}{by}") / udp() / Raw(bytes(29)), f"dns{six}{by}")
            echo = ICMPv6EchoRequest(id=5, seq=1, data=b"ping") if six else ICMP(id=5, seq=1) / Raw(b"ping")
            forwarded(f"echo request to a VIP of every protocol, {where}", to(f"any{six}{by}") / echo, f"any{six}{by}")


def header_fields():
    forwarded("a GRE key", to("keyed") / tcp(), "keyed")
    forwarded("the largest GRE key, IPv6 over IPv4", to("keyed6-by-v4") / tcp(), "keyed6-by-v4")
    forwarded("a GRE key of 0 is a key", to("key-zero") / tcp(), "key-zero")
    for tos, name in ((0xB9, "EF, ECT(1)"), (0x02, "ECT(0)"), (0xFF, "all bits, CE"), (0x28, "AF11, not ECT")):
        forwarded(f"DSCP and ECN are copied: {name}, IPv4 over IPv6", to("any", tos=tos) / udp(), "any")
    forwarded("DSCP and ECN are copied, IPv6 over IPv4", to("any6-by-v4", tc=0xB9) / udp(), "any6-by-v4")
    forwarded("DSCP and ECN are copied, IPv6 over IPv6", to("any6", tc=0x47) / udp(), "any6")
    forwarded("DSCP and ECN are copied, IPv4 over IPv4", to("any-by-v4", tos=0x8A) / udp(), "any-by-v4")
    for service in ("any", "any-by-v4"):
        for tos in (0x00, 0x8B):
            forwarded(
                f"a DSCP by policy, inner {tos:#04x}: ECN is still copied, {service}",
                to(service, tos=tos) / udp(),
                service,
                config="dscp.toml",
            )
    forwarded("a DSCP by policy, IPv6 over IPv6", to("any6", tc=0x03) / udp(), "any6", config="dscp.toml")
    forwarded("a TTL of 1 is carried as it is", to("web", ttl=1) / tcp(), "web")
    forwarded("a hop limit of 1 is carried as it is", to("web6", hlim=1) / tcp(), "web6")
    forwarded(
        "DF and an identification inside are not touched", to("web-by-v4", flags="DF", id=0xBEEF) / tcp(), "web-by-v4"
    )
    forwarded("an 802.1Q tag stays with a static next hop, IPv4", to("web") / tcp(), "web", vlan=42)
    forwarded(
        "an 802.1Q tag stays with a static next hop, IPv6 over IPv4", to("web6-by-v4") / tcp(), "web6-by-v4", vlan=4094
    )
    forwarded("affinity client: the label comes from the addresses", to("by-client") / tcp(), "by-client")
    forwarded("affinity client: another port and protocol, the same label", to("by-client") / udp(), "by-client")
    forwarded("affinity client, IPv6", to("by-client6") / tcp(443), "by-client6")


def inner_headers():
    options = [IPOption_NOP(), IPOption_NOP(), IPOption_NOP(), IPOption_NOP()]
    forwarded("IPv4 options", to("web", options=options) / tcp(), "web")
    forwarded(
        "the longest IPv4 header, over IPv4",
        to("web-by-v4", options=[IPOption_RR(length=39, pointer=4, routers=["0.0.0.0"] * 9), IPOption_NOP()]) / tcp(),
        "web-by-v4",
    )
    hop, dest = (lambda: IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)])), (
        lambda: IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 12)])
    )
    forwarded("IPv6 hop-by-hop options", to("web6") / hop() / tcp(), "web6")
    forwarded("IPv6 hop-by-hop and destination options", to("web6") / hop() / dest() / tcp(), "web6")
    forwarded("the same over IPv4, UDP", to("dns6-by-v4") / hop() / dest() / udp(), "dns6-by-v4")
    routing = IPv6ExtHdrRouting(addresses=["2001:db8:c::1"], segleft=0)
    forwarded("an IPv6 routing header that is used up", to("web6") / routing / tcp(), "web6")
    chain = to("web6")
    for _ in range(8):
        chain = chain / dest()
    forwarded("eight extension headers are followed", chain / tcp(), "web6")
    forwarded("padding of a 60-byte frame is left behind, TCP", to("web") / tcp(), "web", padding=bytes(6))
    forwarded(
        "padding that is not zero, UDP, IPv4 over IPv4",
        to("dns-by-v4") / udp() / Raw(b"x"),
        "dns-by-v4",
        padding=b"\xa5" * 17,
    )
    forwarded("padding behind IPv6", to("dns6") / udp() / Raw(b"x"), "dns6", padding=b"\xa5" * 8)
    chunk = SCTPChunkInit(init_tag=1, a_rwnd=65535, n_out_streams=1, n_in_streams=1, init_tsn=1)
    forwarded("SCTP", to("any") / SCTP(sport=40003, dport=36412, tag=0) / chunk, "any")
    forwarded("SCTP, IPv6", to("any6") / SCTP(sport=40003, dport=36412, tag=0) / chunk, "any6")
    ports = (40004).to_bytes(2, "big") + (5004).to_bytes(2, "big")
    forwarded("DCCP has ports", to("any", proto=33) / Raw(ports + bytes(12)), "any", flow=(33, 40004, 5004))
    forwarded("UDP-Lite has ports", to("any6", nh=136) / Raw(ports + bytes(8)), "any6", flow=(136, 40004, 5004))
    esp = Raw(bytes.fromhex("0000100100000001") + bytes(range(40)))
    forwarded("ESP to a VIP of every protocol", to("any", proto=50) / esp, "any", flow=(50, 0, 0))
    forwarded("ESP, IPv6 over IPv4", to("any6-by-v4", nh=50) / esp, "any6-by-v4", flow=(50, 0, 0))
    tunnel = GRE() / IP(src="10.0.0.1", dst="10.0.0.2") / UDP(sport=1, dport=2)
    forwarded("GRE to a VIP of every protocol", to("any") / tunnel, "any", flow=(47, 0, 0))
    forwarded("GRE, IPv6", to("any6") / tunnel, "any6", flow=(47, 0, 0))
    forwarded("an unknown protocol without a byte of payload", to("any", proto=253), "any", flow=(253, 0, 0))
    forwarded("IPv6 with no next header", to("any6", nh=59), "any6", flow=(59, 0, 0))
    forwarded(
        "an ICMP timestamp request to a VIP of every protocol",
        to("any") / ICMP(type=13, id=1, seq=1, ts_ori=1, ts_rx=0, ts_tx=0),
        "any",
    )


def matching():
    for port, wanted in (
        (80, True),
        (8000, True),
        (8050, True),
        (8099, True),
        (79, False),
        (81, False),
        (7999, False),
        (8100, False),
    ):
        for service in ("web", "web6"):
            packet = to(service) / tcp(port)
            if not wanted:
                dropped(f"{service}: port {port} is not served", packet, "no_service", service=None, endpoint=None)
            elif port != 80:
                forwarded(f"{service}: port {port} is", packet, service)
    dropped("UDP to a VIP of TCP", to("web") / udp(80), "no_service", service=None, endpoint=None)
    dropped("TCP to a VIP of UDP, IPv6", to("dns6") / tcp(53), "no_service", service=None, endpoint=None)
    dropped("ESP to a VIP of TCP", to("web", proto=50) / Raw(bytes(24)), "no_service", service=None, endpoint=None)
    dropped(
        "an ICMP timestamp request to a VIP of TCP",
        to("web") / ICMP(type=13, id=1, seq=1, ts_ori=1, ts_rx=0, ts_tx=0),
        "no_service",
        service=None,
        endpoint=None,
    )
    dropped(
        "the source port does not count", to("web") / tcp(dport=9, sport=80), "no_service", service=None, endpoint=None
    )
    forwarded("a VIP prefix: its first address", to("pool") / udp(), "pool")
    forwarded("a VIP prefix: its last address", ip4("203.0.113.143") / udp(), "pool")
    forwarded("a VIP prefix: a port of its own", ip4("203.0.113.129") / tcp(22), "pool-ssh")
    forwarded(
        "an address before a prefix, though the prefix names the port", ip4("203.0.113.130") / tcp(22), "pool-one-tcp"
    )
    forwarded("an address before a prefix, every protocol", ip4("203.0.113.130") / udp(22), "pool-one")
    forwarded("a port before none", ip4("203.0.113.130") / tcp(80), "pool-one-port")
    forwarded("an IPv6 prefix", ip6("2001:db8:1:f:ffff:ffff:ffff:ffff") / udp(), "pool6")
    dropped("no endpoints", to("empty") / tcp(), "no_endpoint", service="empty", endpoint=None)
    dropped("all endpoints down", to("all-down") / tcp(), "no_endpoint", service="all-down", endpoint=None)
    forwarded("an allowed source", to("limited") / tcp(), "limited")
    forwarded("an allowed source, IPv6", to("limited6") / tcp(), "limited6")
    dropped(
        "a source that is not allowed",
        to("limited", src="198.19.0.7") / tcp(),
        "not_allowed",
        service="limited",
        endpoint=None,
    )
    dropped(
        "an IPv6 source that is not allowed",
        to("limited6", src="2001:db8:d::7") / tcp(),
        "not_allowed",
        service="limited6",
        endpoint=None,
    )


def not_for_us():
    passed("an address that is no VIP", ether(ip4("203.0.113.9") / tcp()))
    passed("an IPv6 address that is no VIP", ether(ip6("2001:db8:1::9") / tcp()))
    passed("an address just before a VIP prefix", ether(ip4("203.0.113.127") / tcp()))
    passed("an address just behind a VIP prefix", ether(ip4("203.0.113.144") / tcp()))
    passed("a VIP as source only", ether(IP(src=vip("web"), dst=CLIENT4) / tcp()))
    passed(
        "ARP for a VIP",
        bytes(
            Ether(src=ROUTER_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=ROUTER_MAC, psrc="192.0.2.254", pdst=vip("web"))
        ),
    )
    passed(
        "a neighbour solicitation for a VIP",
        bytes(
            Ether(src=ROUTER_MAC, dst="33:33:ff:00:00:10")
            / IPv6(src="fe80::fd", dst="ff02::1:ff00:10", hlim=255)
            / ICMPv6ND_NS(tgt=vip("web6"))
        ),
    )
    passed("LLDP", bytes(Ether(src=ROUTER_MAC, dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(46))))
    passed("no VIP behind an 802.1Q tag", ether(ip4("203.0.113.9") / tcp(), vlan=42))


def echoes():
    def pair4(service, data, **fields):
        question = to(service, id=0, flags="DF", ttl=57) / ICMP(type=8, id=77, seq=3) / Raw(data)
        answer = IP(src=vip(service), dst=CLIENT4, id=0, flags="DF", ttl=64) / ICMP(type=0, id=77, seq=3) / Raw(data)
        return question, answer

    def pair6(service, data):
        question = to(service, fl=0) / ICMPv6EchoRequest(id=77, seq=3, data=data)
        answer = IPv6(src=vip(service), dst=CLIENT6, hlim=64) / ICMPv6EchoReply(id=77, seq=3, data=data)
        return question, answer

    data = bytes(range(0x10, 0x48))
    answered("echo auto: the node answers for a VIP of TCP", *pair4("web", data))
    answered("echo auto: the node answers for a VIP of UDP, odd length", *pair4("dns", data[:33]))
    answered("echo auto, IPv6", *pair6("web6", data))
    answered("echo auto, IPv6, odd length", *pair6("dns6", data[:33]))
    answered("echo auto, endpoints over IPv4", *pair6("web6-by-v4", data))
    answered("echo without data; padding is not part of it", *pair4("web", b""), padding=bytes(18))
    answered("echo whose checksum wraps", *pair4("web", b"\xff" * 40))
    answered("echo whose checksum wraps, IPv6", *pair6("web6", b"\xff" * 40))
    answered("echo reply: the node answers for every protocol too", *pair4("echo-reply", data))
    answered("echo reply, IPv6", *pair6("echo-reply6", data))
    answered("echo behind an 802.1Q tag", *pair4("web", data), vlan=42)
    forwarded("echo forward: an endpoint answers for a VIP of TCP", pair4("echo-forward", data)[0], "echo-forward")
    dropped("an echo reply to a VIP of TCP", to("web") / ICMP(type=0), "no_service", service=None, endpoint=None)


def truncated_and_malformed():
    four, six = bytes(to("web") / tcp()), bytes(to("web6") / tcp())
    whole4, whole6 = ether(four, ethertype=0x0800), ether(six, ethertype=0x86DD)
    dropped("an Ethernet header of 13 bytes", whole4[:13], "truncated")
    dropped("an 802.1Q tag of 3 bytes", ether(four, vlan=42, ethertype=0x0800)[:17], "truncated")
    dropped("nothing behind the Ethernet header", whole4[:14], "truncated")
    dropped("19 bytes of an IPv4 header", whole4[: 14 + 19], "truncated")
    dropped("39 bytes of an IPv6 header", whole6[: 14 + 39], "truncated")
    dropped(
        "IPv4 options that the frame does not hold",
        ether(to("web", options=[IPOption_NOP()] * 8) / tcp())[: 14 + 24],
        "truncated",
    )
    dropped("an IPv4 total length beyond the frame", whole4[:-1], "truncated")
    dropped("an IPv6 payload length beyond the frame", whole6[:-1], "truncated")

    def short(name, service, layer, least, proto, kept):
        """The length in the IP header agrees with the frame, and the upper layer's header does not fit."""
        body = bytes(to(service) / layer)[20 if ":" not in vip(service) else 40 :][:kept]
        header = to(service, proto=proto) if ":" not in vip(service) else to(service, nh=proto)
        dropped(f"{kept} of {least} bytes of {name}", ether(header / Raw(body)), "truncated")

    for kept in (0, 3, 19):
        short("a TCP header", "web", tcp(), 20, 6, kept)
        short("a TCP header, IPv6", "web6", tcp(), 20, 6, kept)
    for kept in (3, 7):
        short("a UDP header", "dns", udp(), 8, 17, kept)
        short("a UDP header, IPv6", "dns6", udp(), 8, 17, kept)
        short("an ICMP echo header", "web", ICMP(), 8, 1, kept)
        short("an ICMPv6 echo header", "web6", ICMPv6EchoRequest(), 8, 58, kept)
    short("an SCTP header", "any", SCTP(sport=1, dport=2), 12, 132, 11)
    dropped(
        "padding does not make up for a short header",
        ether(to("web", proto=6) / Raw(bytes(10))) + bytes(16),
        "truncated",
    )
    options = bytes(to("web6") / IPv6ExtHdrHopByHop(options=[PadN(optdata=b"\0" * 4)]))
    dropped(
        "an extension header cut at its first byte",
        ether(changed(options[:41], 4, 0, 1), ethertype=0x86DD),
        "truncated",
    )
    dropped(
        "an extension header longer than the packet", ether(changed(options, 40, 6, 9), ethertype=0x86DD), "truncated"
    )
    dropped("nothing behind an extension header", ether(changed(options, 40, 6), ethertype=0x86DD), "truncated")

    dropped("an IPv4 header length below 20", ether(changed(four, 0, 0x44), ethertype=0x0800), "malformed")
    dropped("an IPv4 header length of 0", ether(changed(four, 0, 0x40), ethertype=0x0800), "malformed")
    dropped(
        "an IPv4 header longer than the packet",
        ether(changed(changed(four, 0, 0x4A), 2, 0, 36), ethertype=0x0800),
        "malformed",
    )
    dropped("an IPv4 total length below the header's", ether(changed(four, 2, 0, 19), ethertype=0x0800), "malformed")
    dropped("an IPv4 total length of 0", ether(changed(four, 2, 0, 0), ethertype=0x0800), "malformed")
    dropped("version 6 under IPv4's EtherType", ether(changed(four, 0, 0x65), ethertype=0x0800), "malformed")
    dropped("version 4 under IPv6's EtherType", ether(changed(six, 0, 0x40), ethertype=0x86DD), "malformed")
    chain = to("web6")
    for _ in range(9):
        chain = chain / IPv6ExtHdrDestOpt(options=[PadN(optdata=b"\0" * 4)])
    dropped("nine extension headers are too many", chain / tcp(), "malformed")


def not_yet():
    """What a later stage treats better than by dropping it."""
    dropped("the first fragment", to("dns", flags="MF") / udp() / Raw(bytes(32)), "fragment")
    dropped("a later fragment", to("dns", frag=5, proto=17) / Raw(bytes(32)), "fragment")
    dropped("a fragment in the middle", to("any", flags="MF", frag=5, proto=17) / Raw(bytes(32)), "fragment")
    dropped("the first fragment, IPv6", to("dns6") / IPv6ExtHdrFragment(m=1, id=9) / udp() / Raw(bytes(32)), "fragment")
    dropped(
        "a later fragment, IPv6", to("dns6") / IPv6ExtHdrFragment(offset=5, nh=17, id=9) / Raw(bytes(32)), "fragment"
    )
    quoted4 = IP(src=vip("web"), dst=CLIENT4) / TCP(sport=80, dport=40001)
    quoted6 = IPv6(src=vip("web6"), dst=CLIENT6) / TCP(sport=80, dport=40001)
    for kind, code in ((3, 1), (3, 4), (4, 0), (11, 0), (12, 0)):
        dropped(
            f"an ICMP error of type {kind}, code {code}",
            ip4(vip("web"), src="198.18.9.9") / ICMP(type=kind, code=code) / Raw(bytes(quoted4)),
            "icmp_error",
        )
    for error in (ICMPv6DestUnreach(), ICMPv6PacketTooBig(mtu=1280), ICMPv6TimeExceeded(), ICMPv6ParamProblem()):
        dropped(
            f"an ICMPv6 error of type {error.type}",
            ip6(vip("web6"), src="2001:db8:c::99") / error / quoted6,
            "icmp_error",
        )
    quoted_any = IP(src=vip("any"), dst=CLIENT4) / TCP(sport=80, dport=40001)
    dropped(
        "an ICMP error to a VIP of every protocol",
        to("any") / ICMP(type=3, code=4) / Raw(bytes(quoted_any)),
        "icmp_error",
    )
    for service, largest in (("any", 1456), ("keyed", 1452), ("any6-by-v4", 1476)):
        header = to(service, flags="DF") if ":" not in vip(service) else to(service)
        body = largest - len(bytes(header)) - 8
        forwarded(f"{service}: {largest} bytes are the most that fit", header / udp() / Raw(bytes(body)), service)
        dropped(f"{service}: one byte too many", header / udp() / Raw(bytes(body + 1)), "too_big", service=service)
    dropped("a TTL of 0", to("web", ttl=0) / tcp(), "ttl_expired")
    dropped("a hop limit of 0", to("web6", hlim=0) / tcp(), "ttl_expired")


def main():
    check_siphash()
    for chapter in (
        family_mixes,
        header_fields,
        inner_headers,
        matching,
        not_for_us,
        echoes,
        truncated_and_malformed,
        not_yet,
    ):
        chapter()
    descriptions = [entry["description"] for entry in CASES]
    assert len(set(descriptions)) == len(descriptions), "two cases of one description"
    with open(HERE / "cases.json", "w") as file:
        json.dump(CASES, file, indent=1)
        file.write("\n")


if __name__ == "__main__":
    main()
