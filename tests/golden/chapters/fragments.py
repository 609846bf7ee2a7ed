"""Fragments: the first is selected by its ports and remembered for 10 seconds; the later ones follow it."""

from scapy.all import TCP, ICMPv6DestUnreach, IPOption_NOP, IPv6, IPv6ExtHdrFragment, Raw

from frames import CLIENT6, ROUTER6, destination_options, hop_options, ip4, ip6, is6, pieces, ping, tcp, to, udp, vip
from table import dropped, forwarded, no_service

LOST = "fragment_without_first"
DNS, WEB = (17, 40002, 53), (6, 40001, 80)


def datagram(service, **fields):
    """UDP of 128 bytes: three fragments when cut before bytes 40 and 80."""
    return to(service, **fields) / udp() / Raw(bytes(range(120)))


def cut(service, id, **fields):
    return pieces(datagram(service, **fields), 40, 80, id=id)


def later_ones_follow():
    for service in ("dns", "dns-by-v4", "dns6", "dns6-by-v4", "gue", "gue6-by-v4", "mpls"):
        for name, piece in zip(("first", "middle", "last"), cut(service, id=100)):
            forwarded(f"the {name} fragment: {service}", piece, service, DNS)
    for service in ("web", "web6"):
        packet = to(service) / tcp() / Raw(bytes(100))
        first, second = pieces(packet, 64, id=101)
        forwarded(f"TCP, the first of two: {service}", first, service, WEB)
        forwarded(f"TCP, the second of two: {service}", second, service, WEB)
        forwarded(f"a later fragment that comes twice: {service}", second, service, WEB)
    for service in ("dns", "dns6"):
        first, middle, last = cut(service, id=102)
        dropped(f"the last before the first: {service}", last, LOST)
        forwarded(f"the first behind it: {service}", first, service, DNS)
        forwarded(f"now the last: {service}", last, service, DNS)
        forwarded(f"the middle behind the last: {service}", middle, service, DNS)
    first, _, last = cut("dns", id=103)
    forwarded("fragments in an 802.1Q tag, the first", first, "dns", DNS, vlan=42)
    forwarded("fragments in an 802.1Q tag, the last", last, "dns", DNS, vlan=42)


def of_the_same_packet_only():
    """A packet is known by source, destination, identification, and in IPv4 by its protocol (RFC 791, RFC 8200)."""
    for service in ("any", "any6"):
        first, _, last = cut(service, id=110)
        other = {"src": "2001:db8:c::8"} if is6(service) else {"src": "198.18.0.8"}
        forwarded(f"a first fragment: {service}", first, service, DNS)
        dropped(f"another identification: {service}", cut(service, id=111)[2], LOST)
        dropped(f"another source: {service}", cut(service, id=110, **other)[2], LOST)
        dropped(
            f"another destination: {service}", cut("echo-reply6" if is6(service) else "echo-reply", id=110)[2], LOST
        )
        forwarded(f"its own: {service}", last, service, DNS)
        again = pieces(to(service) / udp(sport=40009) / Raw(bytes(120)), 40, 80, id=110)
        forwarded(
            f"the identification comes again with other ports, the first: {service}", again[0], service, (17, 40009, 53)
        )
        forwarded(f"the latest first counts: {service}", again[2], service, (17, 40009, 53))
    last = ip4(vip("any"), proto=6, id=110, frag=10) / Raw(bytes(48))
    dropped("another protocol, IPv4", last, LOST)
    high, low = cut("any6", id=0xABCD0001), cut("any6", id=0x12340001)
    forwarded("IPv6 identifications have 32 bits, the first", high[0], "any6", DNS)
    dropped("the same lower 16 bits are not the same", low[2], LOST)


def for_ten_seconds():
    for service in ("dns", "dns6"):
        first, middle, last = cut(service, id=120)
        forwarded(f"a first fragment is remembered: {service}", first, service, DNS)
        forwarded(f"for 9.9 seconds: {service}", middle, service, DNS, after=9.9)
        dropped(f"not for 10, whatever came between: {service}", last, LOST)


def only_when_the_first_was_forwarded():
    dropped("a later fragment without a first", cut("dns", id=130)[2], LOST)
    dropped("a fragment in the middle without a first", cut("dns", id=130)[1], LOST)
    dropped("a later fragment without a first, IPv6", cut("dns6", id=130)[2], LOST)
    for service in ("web", "web6"):
        first, _, last = cut(service, id=131)
        no_service(f"a first fragment that no service takes: {service}", first)
        dropped(f"is not remembered: {service}", last, LOST)
    for service, source in (("limited", "198.19.0.7"), ("limited6", "2001:db8:d::7")):
        first, _, last = cut(service, id=132, src=source)
        dropped(f"a first fragment of a source that is not allowed: {service}", first, "not_allowed")
        dropped(f"is not remembered either: {service}", last, LOST)
        first, _, last = cut(service, id=133)
        forwarded(f"a first fragment of an allowed source: {service}", first, service, DNS)
        forwarded(f"is remembered: {service}", last, service, DNS)


def whole_packets_with_a_fragment_header():
    """Atomic fragments (RFC 6946) are like any packet."""
    atomic = IPv6ExtHdrFragment(offset=0, m=0, id=140)
    forwarded("an atomic fragment", to("web6") / atomic / tcp(), "web6", WEB)
    forwarded("an atomic fragment behind options", to("web6") / hop_options() / atomic / tcp(), "web6", WEB)
    forwarded(
        "options behind an atomic fragment header", to("web6") / atomic / destination_options() / tcp(), "web6", WEB
    )
    no_service("an atomic fragment that no service takes", to("web6") / atomic / tcp(81))
    forwarded("an atomic fragment to a VIP of every protocol", to("any6") / atomic / udp(), "any6", DNS)
    dropped("is not a first fragment", cut("any6", id=140)[2], LOST)
    quoted = IPv6(src=vip("web6"), dst=CLIENT6) / TCP(sport=80, dport=40001)
    packet = ip6(vip("web6"), src=ROUTER6) / atomic / ICMPv6DestUnreach(code=4) / Raw(bytes(quoted))
    forwarded("an ICMPv6 error in an atomic fragment", packet, "web6", WEB, CLIENT6)


def without_need_of_a_first():
    for service in ("by-client", "by-client6", "by-client-by-v4"):
        forwarded(f"affinity client: later fragments need no first: {service}", cut(service, id=150)[2], service, DNS)
    last = pieces(to("halves-dns") / udp() / Raw(bytes(120)), 40, 80, id=151)[2]
    forwarded("affinity client: one service of the VIP takes UDP", last, "halves-dns", DNS)
    last = pieces(to("halves-http") / tcp() / Raw(bytes(120)), 40, 80, id=152)[2]
    dropped("affinity client: two services of the VIP take TCP", last, LOST)
    first, _, last = pieces(to("halves-https") / tcp(443) / Raw(bytes(120)), 40, 80, id=153)
    forwarded("affinity client: the first says which", first, "halves-https", (6, 40001, 443))
    forwarded("affinity client: the later follow it", last, "halves-https", (6, 40001, 443))
    for service in ("any", "any6", "any-by-v4"):
        for protocol, name in ((50, "ESP"), (47, "GRE")):
            header = to(service, **{"nh" if is6(service) else "proto": protocol})
            last = pieces(header / Raw(bytes(120)), 40, 80, id=154)[2]
            forwarded(f"{name} has no ports and needs no first: {service}", last, service, (protocol, 0, 0))
    header = to("web", proto=50)
    no_service("a later fragment of ESP to a VIP of TCP", pieces(header / Raw(bytes(120)), 40, 80, id=155)[2])
    for service in ("any", "any6"):
        dropped(
            f"a later fragment of ICMP needs its first, which says whether it is an error: {service}",
            pieces(to(service) / ping(service, bytes(120)), 40, 80, id=156)[2],
            LOST,
        )


def headers_of_the_first():
    for service in ("web", "web6"):
        packet = to(service) / tcp() / Raw(bytes(100))
        for kept in (8, 16):
            first = pieces(packet, kept, id=160)[0]
            dropped(f"a first fragment with {kept} of 20 bytes of TCP: {service}", first, "truncated")
    for service in ("dns", "dns6"):
        first, last = pieces(datagram(service), 8, id=161)
        forwarded(f"a first fragment with UDP's header only: {service}", first, service, DNS)
        forwarded(f"its later one: {service}", last, service, DNS)
    packet = to("dns6") / destination_options() / udp() / Raw(bytes(100))
    dropped("a first fragment that ends in its extension headers", pieces(packet, 8, id=162)[0], "truncated")
    first, middle, last = pieces(packet, 40, 80, id=163)
    forwarded("destination options behind the fragment header", first, "dns6", DNS)
    forwarded("a middle one, whose next header says options", middle, "dns6", DNS)
    forwarded("a last one, whose next header says options", last, "dns6", DNS)
    first, middle, last = pieces(datagram("any6"), 40, 80, id=164, next_header=6)
    forwarded("the next header of the first counts", first, "any6", DNS)
    forwarded("a middle one that says TCP", middle, "any6", DNS)
    forwarded("a last one that says TCP", last, "any6", DNS)
    options = to("dns", options=[IPOption_NOP()] * 4, flags="MF", id=165) / udp() / Raw(bytes(32))
    forwarded("a first fragment with IPv4 options", options, "dns", DNS)
    forwarded("a later one without", ip4(vip("dns"), proto=17, id=165, frag=5) / Raw(bytes(9)), "dns", DNS)


def that_fit_no_other():
    """Parts but the last have whole units of eight bytes, and no packet is longer than 65,535 (RFC 791, RFC 8200)."""
    odd = ip4(vip("dns"), proto=17, id=170, frag=5, flags="MF") / Raw(bytes(33))
    dropped("a part in the middle of 33 bytes", odd, "malformed")
    odd = to("dns6") / IPv6ExtHdrFragment(offset=5, m=1, id=170, nh=17) / Raw(bytes(33))
    dropped("a part in the middle of 33 bytes, IPv6", odd, "malformed")
    dropped("a part behind byte 65,535", ip4(vip("dns"), proto=17, id=171, frag=8190) / Raw(bytes(16)), "malformed")
    late = to("dns6") / IPv6ExtHdrFragment(offset=8190, m=0, id=171, nh=17) / Raw(bytes(16))
    dropped("a part behind byte 65,535, IPv6", late, "malformed")


CHAPTER = (
    that_fit_no_other,
    later_ones_follow,
    of_the_same_packet_only,
    for_ten_seconds,
    only_when_the_first_was_forwarded,
    whole_packets_with_a_fragment_header,
    without_need_of_a_first,
    headers_of_the_first,
)
