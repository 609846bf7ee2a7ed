"""What stands between the IP header and the transport's: authentication, source routes, options."""

from scapy.all import (
    ICMP,
    IP,
    HBHOptUnknown,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    IPOption_LSRR,
    IPOption_NOP,
    IPOption_SSRR,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
    Raw,
)
from scapy.layers.ipsec import AH

from frames import CLIENT4, CLIENT6, destination_options, tcp, to, udp, vip
from table import answered, dropped, forwarded, no_service

DATA = bytes(range(0x10, 0x48))


def authentication(words=4, nh=6):
    """A header of `words` + 2 words of 32 bits (RFC 4302 section 2.2)."""
    return AH(nh=nh, payloadlen=words, spi=0x1234, seq=7, icv=bytes(range((words + 2) * 4 - 12)))


def authentication_headers():
    """In both families an authenticated packet is of the protocol AH, whatever it authenticates."""
    for service, other in (("any", "web"), ("any6", "web6")):
        forwarded(f"AH in front of TCP: {service}", to(service) / authentication() / tcp(), service, flow=(51, 0, 0))
        forwarded(f"AH in front of UDP: {service}", to(service) / authentication(nh=17) / udp(), service, flow=(51, 0, 0))
        no_service(f"AH in front of TCP is no TCP: {other}", to(other) / authentication() / tcp())
    options = to("any6") / destination_options() / authentication() / tcp()
    forwarded("AH behind destination options", options, "any6", flow=(51, 0, 0))
    behind = to("any6") / authentication(nh=60) / destination_options() / tcp()
    forwarded("AH in front of destination options", behind, "any6", flow=(51, 0, 0))


def fragments_behind_authentication():
    """A part that is not the last has whole units of eight bytes of its own payload, whatever is in front of it."""
    for words, payload, whole in ((3, 16, True), (3, 12, False), (4, 16, True), (4, 20, False)):
        part = IPv6ExtHdrFragment(offset=0, m=1, id=400, nh=17) / Raw(bytes(udp()) + bytes(payload - 8))
        packet = to("any6") / authentication(words, nh=44) / part
        name = f"{payload} bytes of a fragment behind {4 * (words + 2)} bytes of AH"
        if whole:
            forwarded(name, packet, "any6", flow=(51, 0, 0))
        else:
            dropped(name, packet, "malformed")


def as_many_headers_as_are_walked():
    """The ninth is too many, also where it is a fragment's."""
    chain = to("web6")
    for _ in range(8):
        chain = chain / destination_options()
    first = IPv6ExtHdrFragment(offset=0, m=1, id=410, nh=6) / Raw(bytes(tcp()) + bytes(4))
    later = IPv6ExtHdrFragment(offset=3, m=0, id=410, nh=6) / Raw(bytes(16))
    dropped("a first fragment behind eight headers", chain / first, "malformed")
    dropped("a later fragment behind eight headers", chain / later, "malformed")


def question6(*headers):
    packet = to("web6", fl=0)
    for header in headers:
        packet = packet / header
    return packet / ICMPv6EchoRequest(id=77, seq=3, data=DATA)


def question4(options):
    return to("web", id=0, flags="DF", options=options) / ICMP(type=8, id=77, seq=3) / Raw(DATA)


ANSWER6 = IPv6(src=vip("web6"), dst=CLIENT6, hlim=64) / ICMPv6EchoReply(id=77, seq=3, data=DATA)
ANSWER4 = (
    IP(src=vip("web"), dst=CLIENT4, id=0, flags="DF", ttl=64) / ICMP(type=0, id=77, seq=3) / Raw(DATA)
)


def pings_for_another_destination():
    """The node is not where they are to end (RFC 8200 section 4.4, RFC 7126 sections 4.3 and 4.4)."""
    for left in (1, 2):
        routing = IPv6ExtHdrRouting(addresses=["2001:db8:c::1", "2001:db8:c::2"], segleft=left)
        dropped(f"a ping with {left} segments left", question6(routing), "source_routed")
        dropped(f"{left} segments left behind options", question6(destination_options(), routing), "source_routed")
        forwarded(f"TCP with {left} segments left is the endpoint's to judge", to("web6") / routing / tcp(), "web6")
    routing = IPv6ExtHdrRouting(addresses=["2001:db8:c::1"], segleft=0)
    answered("a ping with no segments left", question6(routing), ANSWER6)
    for option in (IPOption_LSRR, IPOption_SSRR):
        route = option(routers=["198.19.0.1", "198.19.0.2"])
        for pointer in (4, 8):
            route.pointer = pointer
            dropped(f"a ping with {option.__name__} at {pointer}", question4([route.copy()]), "source_routed")
        route.pointer = 12
        answered(f"a ping with {option.__name__} used up", question4([route.copy()]), ANSWER4)
        route.pointer = 4
        behind = question4([IPOption_NOP(), route.copy()])
        dropped(f"a ping with {option.__name__} behind no operation", behind, "source_routed")


def pings_with_unknown_options():
    """The two highest bits of an option's type say what to do where it is not known (RFC 8200 section 4.2)."""
    for header in (IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop):
        for kind in (0x5E, 0x9E, 0xDE, 0xC9):
            options = header(options=[HBHOptUnknown(otype=kind, optdata=b"1234")])
            dropped(f"a ping with an option of type {kind:#x} in {header.__name__}", question6(options), "unknown_option")
        options = header(options=[HBHOptUnknown(otype=0x1E, optdata=b"1234")])
        answered(f"a ping with an option that may be skipped in {header.__name__}", question6(options), ANSWER6)


CHAPTER = (
    authentication_headers,
    fragments_behind_authentication,
    as_many_headers_as_are_walked,
    pings_for_another_destination,
    pings_with_unknown_options,
)
