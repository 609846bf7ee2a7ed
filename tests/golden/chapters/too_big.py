"""Packets that do not fit: who gets an answer, which, how many; and IPv4 in parts."""

from scapy.all import ICMP, IP, TCP, ICMPv6DestUnreach, ICMPv6Unknown, ICMPv6PacketTooBig, IPOption_NOP, IPOption_RR, IPv6, Raw
from scapy.utils import checksum

from encapsulation import overhead
from frames import (
    CANNOT_SEND4,
    CANNOT_SEND6,
    CLIENT4,
    CLIENT6,
    MAC,
    ROUTER4,
    ROUTER6,
    ether,
    hop_options,
    ip4,
    is6,
    of_length,
    pieces,
    ping,
    tcp,
    to,
    udp,
    vip,
)
from table import answered, dropped, forwarded, in_parts

MTU = 1500
# The overhead of each encapsulation, written down, and the services that have it.
OVERHEADS = {
    44: ("any", "any6"),
    48: ("keyed", "keyed6", "mpls-gre", "mpls-gre6"),
    24: ("any-by-v4", "any6-by-v4"),
    28: ("keyed-by-v4", "keyed6-by-v4", "mpls-gre-by-v4", "mpls-gre6-by-v4"),
    40: ("ipip", "ipip6"),
    20: ("ipip-by-v4", "ipip6-by-v4"),
    52: ("gue", "gue6"),
    32: ("gue-by-v4", "gue6-by-v4"),
    4: ("mpls", "mpls6", "mpls-by-v4"),
}


def answer_to(packet, mtu, hop_limit=64):
    """From the VIP to the client: ICMPv6 of at most 1280 bytes (RFC 4443), ICMP of at most 576 (RFC 1812)."""
    if isinstance(packet, IPv6):
        header = IPv6(src=packet.dst, dst=packet.src, tc=0, fl=0, hlim=hop_limit)
        return header / ICMPv6PacketTooBig(mtu=max(1280, mtu)) / Raw(bytes(packet)[: 1280 - 40 - 8])
    header = IP(src=packet.dst, dst=packet.src, tos=0xC0, id=0, flags="DF", ttl=hop_limit)
    return header / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(bytes(packet)[: 576 - 20 - 8])


def does_not_fit(description, packet, mtu, **more):
    answered(description, packet, answer_to(packet, mtu), **more)


def whole(service):
    """Fields of an IP header that allow no fragmenting on the way."""
    return {} if is6(service) else {"flags": "DF"}


def what_fits():
    for extra, services in OVERHEADS.items():
        for service in services:
            assert overhead(service) == extra
            largest = MTU - extra
            forwarded(
                f"{service}: {largest} bytes are the most that fit",
                of_length(largest, service, **whole(service)),
                service,
            )
            does_not_fit(f"{service}: one byte too many", of_length(largest + 1, service, **whole(service)), largest)
    forwarded("without DF too, what fits goes whole", of_length(1456, "any"), "any")


def how_it_is_answered():
    for service in ("any", "any6"):
        fields = whole(service)
        six = is6(service)
        does_not_fit(f"1500 bytes: {service}", of_length(1500, service, **fields), 1456)
        does_not_fit(f"an 802.1Q tag stays: {service}", of_length(1500, service, **fields), 1456, vlan=42)
        packet = of_length(1500, service, **fields, **({"tc": 0xB9} if six else {"tos": 0xB9, "id": 0xBEEF}))
        does_not_fit(f"the answer has a traffic class of its own: {service}", packet, 1456)
        packet = of_length(1500, service, **fields)
        answered(
            f"the answer has the config's hop limit: {service}",
            packet,
            answer_to(packet, 1456, hop_limit=200),
            config="hops.toml",
        )
        packet = of_length(1500, service, tcp(flags="A"), **fields)
        does_not_fit(f"TCP: {service}", packet, 1456)
        packet = of_length(1500, service, ping(service), **fields)
        does_not_fit(f"a ping for an endpoint: {service}", packet, 1456)
        esp = {"nh": 50} if six else {"proto": 50}
        packet = of_length(1500, service, Raw(bytes(8)), **fields, **esp)
        does_not_fit(f"ESP: {service}", packet, 1456)
    options = [IPOption_RR(length=39, pointer=4, routers=["0.0.0.0"] * 9), IPOption_NOP()]
    does_not_fit("IPv4 options are quoted", of_length(1457, "any", flags="DF", options=options), 1456)
    does_not_fit("extension headers are quoted", of_length(1457, "any6", hop_options() / udp()), 1456)
    packet = of_length(1476, "dns", udp(), id=310)
    packet.flags = "DF+MF"
    does_not_fit("a first fragment with DF", packet, 1456)
    first = pieces(of_length(2000, "any6"), 1440, id=311)[0]
    does_not_fit("a first fragment, IPv6", first, 1456)
    later = pieces(of_length(3200, "by-client6"), 1440, 2880, id=312)[1]
    does_not_fit("a later fragment, IPv6", later, 1456)
    does_not_fit("a source that is allowed is answered", of_length(1500, "limited", flags="DF"), 1456)
    packet = of_length(1500, "limited", src="198.19.0.7", flags="DF")
    dropped("`allow` comes first: no answer to others", packet, "not_allowed")


def who_gets_no_answer():
    def silent(description, packet):
        dropped(description, ether(packet), "too_big")

    for service, router, kind in (("any", ROUTER4, ICMP(type=3, code=1)), ("any6", ROUTER6, ICMPv6DestUnreach(code=4))):
        six = is6(service)
        quoted = IPv6(src=vip(service), dst=CLIENT6) if six else IP(src=vip(service), dst=CLIENT4)
        quoted = bytes(quoted / TCP(sport=80, dport=40001) / Raw(bytes(1400)))
        silent(f"no answer to an ICMP error: {service}", to(service, src=router, **whole(service)) / kind / Raw(quoted))
        for source in CANNOT_SEND6 if six else CANNOT_SEND4:
            silent(f"no answer to {source}: {service}", of_length(1500, service, src=source, **whole(service)))
    for kind in (5, 100, 127, 137):
        error = to("any6", src=ROUTER6) / ICMPv6Unknown(type=kind) / Raw(bytes(1460))
        silent(f"no answer to an ICMPv6 error or redirect of type {kind}", error)
    redirect = to("any", src=ROUTER4, flags="DF") / ICMP(type=5, code=1, gw=ROUTER4) / Raw(bytes(1460))
    silent("no answer to an ICMP redirect", redirect)
    later = ip4(vip("by-client"), proto=17, id=313, frag=100) / Raw(bytes(1460))
    later.flags = "DF"
    silent("no answer to a later fragment with DF", later)
    later = ip4(vip("any"), proto=50, id=313, frag=100) / Raw(bytes(1456))
    later.flags = "DF+MF"
    silent("no answer to a fragment in the middle with DF", later)


def how_many_answers():
    """50 a second to one client, 50 at once."""
    for service, client, another in (
        ("any", "198.18.50.1", "198.18.50.2"),
        ("any6", "2001:db8:c:50::1", "2001:db8:c:51::2"),
    ):
        flood = of_length(1457, service, src=client, **whole(service))
        does_not_fit(f"50 answers at once to one client: {service}", flood, 1456, after=5, times=50)
        dropped(f"and not one more: {service}", flood, "too_big", after=0.0001)
        other = of_length(1457, service, src=another, **whole(service))
        does_not_fit(f"another client gets its own: {service}", other, 1456, after=0.0001)
        does_not_fit(f"after a fifth of a second there are some again: {service}", flood, 1456, after=0.2, times=5)


def in_how_many_parts():
    """IPv4 without DF is fragmented inside, and each part encapsulated (RFC 791 section 3.2)."""
    v4_services = [service for services in OVERHEADS.values() for service in services if not is6(service)]
    for service in v4_services:
        in_parts(
            f"{service}: one byte too many makes two parts", of_length(MTU - overhead(service) + 1, service), service
        )
    for service in ("any", "any-by-v4"):
        in_parts(
            f"each part is a packet of its own: {service}",
            of_length(1500, service, tos=0xB9, id=0xBEEF, ttl=1),
            service,
        )
    in_parts("parts in an 802.1Q tag", of_length(1500, "gue"), "gue", vlan=42)
    in_parts("parts with a DSCP by policy", of_length(1500, "mpls", tos=0x02), "mpls", config="dscp.toml")
    in_parts("parts have one outer source", of_length(1500, "any"), "any", config="entropy.toml")
    in_parts("TCP", of_length(1500, "web", tcp(flags="A")), "web")
    in_parts("a ping for an endpoint", of_length(1500, "any", ping("any")), "any")
    in_parts("ESP", of_length(1500, "any", Raw(bytes(8)), proto=50), "any", flow=(50, 0, 0))
    in_parts("affinity client", of_length(1500, "by-client"), "by-client")


def with_options():
    record = bytes([7, 39, 4]) + bytes(36)
    alert, stream, nothing, end = bytes([148, 4, 0, 0]), bytes([136, 4, 0xAB, 0xCD]), b"\1", b"\0"
    security = bytes([130, 11, 0xF1, 0x35, *range(1, 8)])
    for name, area in {
        "options without the copy bit stay in the first part": record + nothing,
        "options with the copy bit are in all parts": alert + stream,
        "copied options are padded with zeros": security + nothing,
        "one copied option among others": nothing + alert + bytes([68, 8, 5, 0, 0, 0, 0, 0]) + nothing * 3,
        "copied options of 15 bytes are padded to 16": alert + nothing + security,
        "the end of the options ends them": stream + end + alert[:3],
    }.items():
        in_parts(name, with_area("any", area), "any")
        in_parts(f"{name}, over IPv4", with_area("any-by-v4", area), "any-by-v4")


def with_area(service, area):
    """1500 bytes of UDP with these bytes as options."""
    plain = bytes(of_length(1500 - len(area), service, proto=17))
    packet = bytearray(plain[:20] + area + plain[20:])
    packet[0] = 0x40 | (20 + len(area)) // 4
    packet[2:4] = (1500).to_bytes(2, "big")
    packet[10:12] = bytes(2)
    packet[10:12] = checksum(bytes(packet[: 20 + len(area)])).to_bytes(2, "big")
    return IP(bytes(packet))


def parts_of_fragments():
    """Offsets count on, and MF stays where there was more behind."""
    for service in ("any", "any-by-v4"):
        first, middle, last = pieces(of_length(4460, service), 1480, 2960, id=320)
        in_parts(f"a first fragment in parts: {service}", first, service, flow=(17, 40002, 53))
        in_parts(
            f"the middle one, by the same flow, keeps MF in its last part: {service}",
            middle,
            service,
            flow=(17, 40002, 53),
        )
        in_parts(f"the last one: {service}", last, service, flow=(17, 40002, 53))
    middle = ip4(vip("any"), proto=50, id=321, flags="MF", frag=7800) / Raw(bytes(1480))
    in_parts("a fragment of ESP with a large offset", middle, "any", flow=(50, 0, 0))
    middle = ip4(vip("by-client"), proto=17, id=322, flags="MF", frag=185) / Raw(bytes(1440))
    in_parts("affinity client: a middle one whose last part is short", middle, "by-client", flow=(17, 0, 0))


CHAPTER = (
    what_fits,
    how_it_is_answered,
    who_gets_no_answer,
    how_many_answers,
    in_how_many_parts,
    with_options,
    parts_of_fragments,
)
