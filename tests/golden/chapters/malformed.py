"""Headers that are cut, or contradict themselves."""

from scapy.all import ICMP, SCTP, ICMPv6EchoRequest, IPOption_NOP, Raw

from frames import changed, destination_options, ether, hop_options, tcp, to, udp, vip
from table import dropped


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
    options = bytes(to("web6") / hop_options())
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
        chain = chain / destination_options()
    dropped("nine extension headers are too many", chain / tcp(), "malformed")


CHAPTER = (truncated_and_malformed,)
