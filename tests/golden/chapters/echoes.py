"""Pings of a VIP."""

from scapy.all import (
    ICMP,
    IP,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPOption_NOP,
    IPOption_RR,
    IPv6,
    IPv6ExtHdrFragment,
    Raw,
)

from frames import (
    CANNOT_SEND4,
    CANNOT_SEND6,
    CLIENT4,
    CLIENT6,
    destination_options,
    ether,
    hop_options,
    is6,
    pieces,
    ping,
    to,
    vip,
)
from table import answered, dropped, forwarded, no_service

DATA = bytes(range(0x10, 0x48))


def pair4(service, data, options=None, **fields):
    """A ping, and the answer: TOS, identification and flags are the ping's, and its options are left out."""
    question = to(service, **{"id": 0, "flags": "DF", **fields}, options=options or [])
    answer = IP(**{"src": vip(service), "dst": CLIENT4, "id": 0, "flags": "DF", "ttl": 64, **fields})
    return question / ICMP(type=8, id=77, seq=3) / Raw(data), answer / ICMP(type=0, id=77, seq=3) / Raw(data)


def pair6(service, data, *headers):
    """A ping behind these extension headers, and the answer without them."""
    question = to(service, fl=0)
    for header in headers:
        question = question / header
    answer = IPv6(src=vip(service), dst=CLIENT6, hlim=64) / ICMPv6EchoReply(id=77, seq=3, data=data)
    return question / ICMPv6EchoRequest(id=77, seq=3, data=data), answer


def who_answers():
    answered("echo auto: the node answers for a VIP of TCP", *pair4("web", DATA))
    answered("echo auto: the node answers for a VIP of UDP, odd length", *pair4("dns", DATA[:33]))
    answered("echo auto, IPv6", *pair6("web6", DATA))
    answered("echo auto, IPv6, odd length", *pair6("dns6", DATA[:33]))
    answered("echo auto, endpoints over IPv4", *pair6("web6-by-v4", DATA))
    answered("echo without data; padding is not part of it", *pair4("web", b""), padding=bytes(18))
    answered("echo whose checksum wraps", *pair4("web", b"\xff" * 40))
    answered("echo whose checksum wraps, IPv6", *pair6("web6", b"\xff" * 40))
    answered("echo reply: the node answers for every protocol too", *pair4("echo-reply", DATA))
    answered("echo reply, IPv6", *pair6("echo-reply6", DATA))
    answered("echo behind an 802.1Q tag", *pair4("web", DATA), vlan=42)
    forwarded("echo forward: an endpoint answers for a VIP of TCP", pair4("echo-forward", DATA)[0], "echo-forward")
    no_service("an echo reply to a VIP of TCP", to("web") / ICMP(type=0))
    forwarded("echo forward, IPv6", pair6("echo-forward6", DATA)[0], "echo-forward6")
    no_service("an echo reply to a VIP of TCP, IPv6", to("web6") / ICMPv6EchoReply(id=77, seq=3))


def what_the_answer_keeps():
    record = [IPOption_RR(length=39, pointer=4, routers=["0.0.0.0"] * 9), IPOption_NOP()]
    answered("TOS, identification and flags are the ping's", *pair4("web", DATA, tos=0xB9, id=0x4242, flags=0))
    answered("DF and an identification", *pair4("web", DATA, tos=0x02, id=0xFFFF, flags="DF"))
    answered("IPv4 options are left out of the answer", *pair4("web", DATA, options=[IPOption_NOP()] * 4))
    answered("the longest IPv4 options are", *pair4("web", DATA[:33], options=record, id=7, flags=0))
    answered("options and an 802.1Q tag", *pair4("dns", DATA, options=record), vlan=42)
    answered("options and no data, with padding", *pair4("web", b"", options=[IPOption_NOP()] * 4), padding=bytes(14))
    answered("hop-by-hop options are left out of the answer", *pair6("web6", DATA, hop_options()))
    answered("destination options are", *pair6("web6", DATA[:33], hop_options(), destination_options(12)))
    answered("an atomic fragment header is", *pair6("web6", DATA, IPv6ExtHdrFragment(offset=0, m=0, id=200)))
    answered("options and an 802.1Q tag, IPv6", *pair6("dns6", DATA, destination_options(12)), vlan=42)


def fragmented_pings():
    """The node puts nothing together; where an endpoint answers, a ping's fragments are like any others."""
    for service in ("web", "web6", "dns", "dns6", "echo-reply", "echo-reply6"):
        for name, piece in zip(
            ("first", "middle", "last"), pieces(to(service) / ping(service, DATA * 3), 64, 128, id=201)
        ):
            dropped(f"a fragmented ping that the node would answer, the {name}: {service}", piece, "fragmented_icmp")
    for service in ("any", "any6", "echo-forward", "echo-forward6"):
        flow = (58 if is6(service) else 1, 0, 0)
        for name, piece in zip(
            ("first", "middle", "last"), pieces(to(service) / ping(service, DATA * 3), 64, 128, id=202)
        ):
            forwarded(f"a fragmented ping that an endpoint answers, the {name}: {service}", piece, service, flow)


def pings_of_nobody():
    """An answer would go to many, or to none (RFC 1122 section 3.2.1.3, RFC 4443 section 4.2)."""
    for service, sources in (("web", CANNOT_SEND4), ("web6", CANNOT_SEND6)):
        for source in sources:
            dropped(f"a ping from {source}", to(service, src=source) / ping(service), "bad_source")


CHAPTER = (who_answers, what_the_answer_keeps, fragmented_pings, pings_of_nobody)
