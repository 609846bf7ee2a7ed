"""ICMP errors about a VIP's own packets go, unchanged, to the endpoint of the flow that they quote, reversed."""

from scapy.all import (
    ICMP,
    IP,
    SCTP,
    TCP,
    UDP,
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPOption_NOP,
    IPOption_RR,
    IPv6,
    Raw,
)

from frames import (
    CLIENT4,
    CLIENT6,
    ROUTER4,
    ROUTER6,
    changed,
    destination_options,
    hop_options,
    ip4,
    is6,
    pieces,
    tcp,
    to,
    udp,
    vip,
)
from table import dropped, forwarded, no_service

KINDS4 = ((3, 0), (3, 1), (3, 3), (3, 4), (3, 13), (4, 0), (11, 0), (11, 1), (12, 0))
KINDS6 = (
    ICMPv6DestUnreach(code=4),
    ICMPv6PacketTooBig(mtu=1400),
    ICMPv6TimeExceeded(code=0),
    ICMPv6TimeExceeded(code=1),
    ICMPv6ParamProblem(code=0, ptr=6),
)


def from_vip(service, **fields):
    """The IP header of what the VIP sent to the client."""
    if is6(service):
        return IPv6(**{"src": vip(service), "dst": CLIENT6, "hlim": 50, "fl": 0x12345, **fields})
    return IP(**{"src": vip(service), "dst": CLIENT4, "ttl": 50, "id": 7, **fields})


def reply(service, port=80, **fields):
    return from_vip(service, **fields) / TCP(sport=port, dport=40001, flags="PA") / Raw(bytes(range(92)))


def error(service, quote, kind=None, **fields):
    """An error of a router on the way to the client, which quotes a packet or bytes."""
    if is6(service):
        return to(service, **{"src": ROUTER6, **fields}) / (kind or ICMPv6DestUnreach(code=4)) / Raw(bytes(quote))
    number, code = kind or (3, 1)
    return to(service, **{"src": ROUTER4, **fields}) / ICMP(type=number, code=code) / Raw(bytes(quote))


def follows(description, service, quote, flow=(6, 40001, 80), client=None, **more):
    fields = {name: more.pop(name) for name in ("tos", "tc", "ttl", "hlim", "options") if name in more}
    packet = error(service, quote, more.pop("kind", None), **fields)
    forwarded(description, packet, service, flow, client or (CLIENT6 if is6(service) else CLIENT4), **more)


def about_an_endpoints_ping_reply():
    """Also where no service takes ICMP, and `echo` has sent the ping to an endpoint."""
    for service, answer, number in (
        ("echo-forward", ICMP(type=0, id=77, seq=3), 1),
        ("echo-forward6", ICMPv6EchoReply(id=77, seq=3), 58),
    ):
        quote = from_vip(service) / answer / Raw(bytes(40))
        follows(f"an error about an endpoint's ping reply: {service}", service, quote, flow=(number, 0, 0))
    no_service("an error about the node's own ping reply", error("web", from_vip("web") / ICMP(type=0, id=77, seq=3)))


def by_the_quoted_flow():
    for number, code in KINDS4:
        follows(f"an ICMP error of type {number}, code {code}", "web", reply("web"), kind=(number, code))
    for kind in KINDS6:
        follows(f"an ICMPv6 error of type {kind.type}, code {kind.code}", "web6", reply("web6"), kind=kind)
    follows("a router's error has its own TTL and TOS, and they stay", "web", reply("web"), ttl=1, tos=0xC0)
    follows("an ICMPv6 error with a hop limit of 1", "web6", reply("web6"), hlim=1, tc=0x03)
    follows("an ICMP error, IPv4 over IPv4", "web-by-v4", reply("web-by-v4"))
    follows("an ICMPv6 error, IPv6 over IPv4", "web6-by-v4", reply("web6-by-v4"))
    follows("an ICMP error in an 802.1Q tag", "web", reply("web"), vlan=42)
    follows("an ICMP error with IPv4 options", "web", reply("web"), options=[IPOption_NOP()] * 4)
    follows("an error for a range of ports", "web", reply("web", 8050), flow=(6, 40001, 8050))
    for service in ("gue", "ipip6", "mpls"):
        follows(f"an error goes by {service} as its flow does", service, reply(service))
    follows("affinity client: by the quoted addresses", "by-client", reply("by-client"))
    follows("affinity client: by the quoted addresses, IPv6", "by-client6", reply("by-client6"))
    behind_prefix = reply("pool", src="203.0.113.143")
    packet = ip4("203.0.113.143", src=ROUTER4) / ICMP(type=3, code=1) / Raw(bytes(behind_prefix))
    forwarded("an error to an address of a VIP prefix", packet, "pool", (6, 40001, 80), CLIENT4)
    no_service("no service takes the quoted flow: its port", error("web", reply("web", 81)))
    no_service("no service takes the quoted flow: its protocol", error("web6", from_vip("web6") / udp(40002, 80)))
    dropped("an error about a flow without endpoints", error("empty", reply("empty")), "no_endpoint")


def by_whoever_is_allowed():
    follows("`allow` is about the client that is quoted, not the router", "limited", reply("limited"))
    follows("`allow` is about the client that is quoted, IPv6", "limited6", reply("limited6"))
    quote = reply("limited", dst="198.19.0.7")
    dropped("an allowed router's error about another client", error("limited", quote, src=CLIENT4), "not_allowed")
    quote = reply("limited6", dst="2001:db8:d::7")
    dropped("the same, IPv6", error("limited6", quote, src=CLIENT6), "not_allowed")


def by_little_that_is_quoted():
    """RFC 792 asks for no more than the header and 8 bytes."""
    four, six = bytes(reply("web")), bytes(reply("web6"))
    follows("8 bytes quoted behind the IPv4 header", "web", four[: 20 + 8])
    follows("8 bytes quoted behind the IPv6 header", "web6", six[: 40 + 8])
    follows("4 bytes of ports are enough", "web", four[: 20 + 4])
    follows("4 bytes of ports are enough, IPv6", "web6", six[: 40 + 4])
    for total in (0, 19, 28, 0x2C00, 0xFFFF):
        quote = bytearray(four[: 20 + 8])
        quote[2:4] = total.to_bytes(2, "big")
        follows(f"a quoted IPv4 header with a total length of {total}", "web", bytes(quote))
    for length in (0, 4, 0xFFFF):
        quote = bytearray(six[: 40 + 8])
        quote[4:6] = length.to_bytes(2, "big")
        follows(f"a quoted IPv6 header with a payload length of {length}", "web6", bytes(quote))
    options = from_vip("web", options=[IPOption_RR(length=39, pointer=4, routers=["0.0.0.0"] * 9), IPOption_NOP()])
    follows("8 bytes quoted behind IPv4 options", "web", bytes(options / TCP(sport=80, dport=40001))[: 60 + 8])
    chain = from_vip("web6") / hop_options() / destination_options(12) / TCP(sport=80, dport=40001)
    follows("8 bytes quoted behind IPv6 extension headers", "web6", bytes(chain)[: 40 + 8 + 16 + 8])
    datagram = from_vip("dns") / UDP(sport=53, dport=40002) / Raw(bytes(100))
    follows("quoted UDP, 8 bytes", "dns", bytes(datagram)[: 20 + 8], flow=(17, 40002, 53))
    datagram = from_vip("dns6") / UDP(sport=53, dport=40002) / Raw(bytes(100))
    follows("quoted UDP, 8 bytes, IPv6", "dns6", bytes(datagram)[: 40 + 8], flow=(17, 40002, 53))
    chunk = from_vip("any") / SCTP(sport=36412, dport=40003, tag=1) / Raw(bytes(16))
    follows("quoted SCTP", "any", bytes(chunk)[: 20 + 8], flow=(132, 40003, 36412))
    secret = Raw(bytes.fromhex("0000100100000001") + bytes(40))
    follows("quoted ESP has no ports", "any", bytes(from_vip("any", proto=50) / secret)[: 20 + 8], flow=(50, 0, 0))
    follows("quoted ESP, IPv6", "any6", bytes(from_vip("any6", nh=50) / secret)[: 40 + 8], flow=(50, 0, 0))
    answer = from_vip("any") / ICMP(type=0, id=77, seq=3) / Raw(bytes(56))
    follows("a quoted echo reply of the endpoint has no ports", "any", bytes(answer)[: 20 + 8], flow=(1, 0, 0))
    answer = from_vip("any6") / ICMPv6EchoReply(id=77, seq=3, data=bytes(56))
    follows("a quoted ICMPv6 echo reply of the endpoint", "any6", bytes(answer)[: 40 + 8], flow=(58, 0, 0))


def quoted_fragments():
    first, _, later = (bytes(piece) for piece in reversed_pieces("web", TCP(sport=80, dport=40001)))
    follows("a quoted first fragment has its ports", "web", first)
    dropped("a quoted later fragment has no ports", error("web", later), "quote_unreadable")
    first, _, later = (bytes(piece) for piece in reversed_pieces("web6", TCP(sport=80, dport=40001)))
    follows("a quoted first fragment has its ports, IPv6", "web6", first)
    dropped("a quoted later fragment has no ports, IPv6", error("web6", later), "quote_unreadable")
    for service in ("by-client", "by-client6"):
        later = reversed_pieces(service, TCP(sport=80, dport=40001))[2]
        follows(f"affinity client needs no ports of a quoted later fragment: {service}", service, later)
    for service in ("any", "any6"):
        protocol = {"nh": 50} if is6(service) else {"proto": 50}
        packet = from_vip(service, **protocol) / Raw(bytes(96))
        later = pieces(packet, 40, 80, id=9)[2]
        follows(f"ESP has no ports in a quoted later fragment either: {service}", service, later, flow=(50, 0, 0))


def reversed_pieces(service, upper):
    return pieces(from_vip(service) / upper / Raw(bytes(80)), 40, 80, id=9)


def quotes_that_do_not_fit():
    dropped("the quote is not from a VIP at all", error("web", reply("web", src="203.0.113.9")), "quote_not_from_vip")
    dropped("the quote is from another VIP", error("web", reply("dns")), "quote_not_from_vip")
    dropped("the quote is from the client", error("web", to("web") / tcp()), "quote_not_from_vip")
    dropped(
        "the quote is from another address of the prefix",
        error("pool", reply("pool", src="203.0.113.130")),
        "quote_not_from_vip",
    )
    dropped("the quote is from another VIP, IPv6", error("web6", reply("dns6")), "quote_not_from_vip")

    def unreadable(description, service, quote):
        dropped(description, error(service, quote), "quote_unreadable")

    four, six = bytes(reply("web")), bytes(reply("web6"))
    unreadable("nothing is quoted", "web", b"")
    unreadable("nothing is quoted, IPv6", "web6", b"")
    unreadable("19 bytes of an IPv4 header are quoted", "web", four[:19])
    unreadable("39 bytes of an IPv6 header are quoted", "web6", six[:39])
    unreadable("a quoted IPv4 header without ports behind", "web", four[:20])
    unreadable("3 bytes of ports are quoted", "web", four[: 20 + 3])
    unreadable("3 bytes of ports are quoted, IPv6", "web6", six[: 40 + 3])
    unreadable("IPv4 options that are not in the quote", "web", changed(four[:28], 0, 0x4F))
    unreadable("a quoted IPv4 header length below 20", "web", changed(four, 0, 0x44))
    unreadable("a quoted IPv6 packet in an ICMP error", "web", six)
    unreadable("a quoted IPv4 packet in an ICMPv6 error", "web6", four)
    unreadable("a quoted version that there is not", "web", changed(four, 0, 0x55))
    chain = from_vip("web6") / hop_options() / destination_options(12) / TCP(sport=80, dport=40001)
    unreadable("quoted IPv6 extension headers that are cut", "web6", bytes(chain)[: 40 + 8 + 8])
    chain = from_vip("web6")
    for _ in range(9):
        chain = chain / destination_options()
    unreadable("nine quoted extension headers are too many", "web6", chain / TCP(sport=80, dport=40001))

    for service, length in (("web", 20), ("web6", 40)):
        packet = bytes(error(service, b""))[length:]
        protocol = {"nh": 58} if is6(service) else {"proto": 1}
        for kept in (4, 7):
            dropped(
                f"{kept} of 8 bytes of an ICMP error's own header: {service}",
                to(service, **protocol) / Raw(packet[:kept]),
                "truncated",
            )
    for service in ("web", "web6", "any", "any6"):
        first = pieces(error(service, reply(service)), 128, id=11)[0]
        dropped(f"an ICMP error in fragments: {service}", first, "fragmented_icmp")


CHAPTER = (
    about_an_endpoints_ping_reply,
    by_the_quoted_flow,
    by_whoever_is_allowed,
    by_little_that_is_quoted,
    quoted_fragments,
    quotes_that_do_not_fit,
)
