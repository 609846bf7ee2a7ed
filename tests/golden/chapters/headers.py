"""Every service match, every family inside every family outside; what the IP headers may carry."""

from scapy.all import (
    GRE,
    ICMP,
    IP,
    SCTP,
    UDP,
    ICMPv6EchoRequest,
    IPOption_NOP,
    IPOption_RR,
    IPv6ExtHdrRouting,
    Raw,
    SCTPChunkInit,
)

from frames import destination_options, hop_options, tcp, to, udp
from table import forwarded


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
    forwarded("IPv6 hop-by-hop options", to("web6") / hop_options() / tcp(), "web6")
    forwarded(
        "IPv6 hop-by-hop and destination options", to("web6") / hop_options() / destination_options(12) / tcp(), "web6"
    )
    forwarded(
        "the same over IPv4, UDP", to("dns6-by-v4") / hop_options() / destination_options(12) / udp(), "dns6-by-v4"
    )
    routing = IPv6ExtHdrRouting(addresses=["2001:db8:c::1"], segleft=0)
    forwarded("an IPv6 routing header that is used up", to("web6") / routing / tcp(), "web6")
    chain = to("web6")
    for _ in range(8):
        chain = chain / destination_options(12)
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


CHAPTER = (family_mixes, header_fields, inner_headers)
