"""What is bounded by nature: sources that nobody elsewhere has, the size of answers, tunnels with no room."""

import copy

from scapy.all import ICMP, IP, TCP, ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6ND_NS, IPOption_RR, IPv6, Raw

from chapters.echoes import pair4, pair6
from frames import (
    CLIENT4,
    CLIENT6,
    MARTIANS4,
    MARTIANS6,
    destination_options,
    ether,
    hop_options,
    is6,
    of_length,
    pieces,
    ping,
    tcp,
    to,
    udp,
    vip,
)
from table import answered, dropped, forwarded, in_parts, passed

NARROW = "narrow.toml"
NARROW_MTU = 300
# 20 bytes of outer header leave 67.
HOPELESS = "hopeless.toml"


def martian_sources():
    for services, sources in ((("any", "web", "empty"), MARTIANS4), (("any6", "web6"), MARTIANS6)):
        for service in services:
            for source in sources:
                dropped(f"TCP from {source}: {service}", to(service, src=source) / tcp(), "martian_source")
    for service in ("any", "any6"):
        for source in MARTIANS6 if is6(service) else MARTIANS4:
            header = to(service, src=source)
            dropped(f"UDP from {source}: {service}", header / udp() / Raw(b"data"), "martian_source")
    for service in ("web", "web6", "any", "any6"):
        for source in (*(MARTIANS6 if is6(service) else MARTIANS4), vip(service)):
            dropped(f"a martian ping, from {source}: {service}", to(service, src=source) / ping(service), "martian_source")
    martian = {False: "127.0.0.1", True: "fe80::1"}
    for service in ("any", "any6"):
        source = martian[is6(service)]
        packet = to(service, src=source) / udp() / Raw(bytes(200))
        for name, piece in zip(("first", "later"), pieces(packet, 64, id=601)):
            dropped(f"the {name} fragment of a packet from {source}: {service}", piece, "martian_source")
    options = to("any6", src="fe80::1") / hop_options() / destination_options() / tcp()
    dropped("a martian source before extension headers", options, "martian_source")
    dropped("a martian source behind an 802.1Q tag", ether(to("any", src="127.0.0.1") / tcp(), vlan=42), "martian_source")
    dropped("a martian source comes before `allow`", to("limited", src="127.0.0.1") / tcp(), "martian_source")
    dropped("a martian source at a port that nobody takes", to("web", src="127.0.0.1") / tcp(dport=81), "martian_source")


def the_vip_itself():
    """As in a land attack; of a prefix, the very address, and no other: clients may be within a wide one."""
    for service in ("any", "web", "any6", "web6", "pool", "pool6"):
        for upper, name in ((tcp(), "TCP"), (udp() / Raw(b"data"), "UDP")):
            packet = to(service, src=vip(service)) / upper
            dropped(f"{name} from the VIP itself: {service}", packet, "martian_source")
    for service, middle, another in (
        ("pool", "203.0.113.140", "203.0.113.141"),
        ("pool6", "2001:db8:1:f::77", "2001:db8:1:f::78"),
    ):
        packet = to(service, dst=middle, src=middle) / tcp(dport=443)
        dropped(f"from the same address in the middle of a prefix: {service}", packet, "martian_source")
        packet = to(service, dst=middle, src=another) / tcp(dport=443)
        forwarded(f"from another address of the prefix: {service}", packet, service)
    forwarded("from another VIP", to("any", src=vip("web")) / tcp(), "any")


def what_is_no_martian():
    """The neighbours of what is dropped, private networks, and those whose routers answer from where they can."""
    for source in (
        "1.0.0.0",
        "10.0.0.1",
        "100.64.0.1",
        "126.255.255.255",
        "128.0.0.0",
        "169.253.255.255",
        "169.255.0.0",
        "172.16.0.1",
        "192.0.0.8",
        "192.168.1.1",
        "223.255.255.255",
    ):
        forwarded(f"TCP from {source} is forwarded", to("any", src=source) / tcp(), "any")
    for source in ("64:ff9b::c612:7", "0:0:0:1::1", "fc00::1", "fd12:3456::1", "fdff::ffff", "fec0::1", "2002:c612:7::1", "100::1"):
        forwarded(f"TCP from {source} is forwarded", to("any6", src=source) / tcp(), "any6")
    solicitation = IPv6(src="fe80::1", dst=vip("web6"), hlim=255) / ICMPv6ND_NS(tgt=vip("web6"))
    passed("a neighbour asks whether the VIP is still there", solicitation)
    passed("a martian source on its way elsewhere", IP(src="127.0.0.1", dst="198.51.100.1") / tcp())


def errors_of_martians():
    """Routers without an address of their own answer from others (RFC 7600: 192.0.0.8), but not from these."""
    for service, sources in (("any", MARTIANS4), ("any6", MARTIANS6)):
        client = CLIENT6 if is6(service) else CLIENT4
        quoted = (IPv6 if is6(service) else IP)(src=vip(service), dst=client) / TCP(sport=80, dport=40001)
        kind = ICMPv6DestUnreach(code=4) if is6(service) else ICMP(type=3, code=1)
        for source in (*sources, vip(service)):
            error = to(service, src=source) / kind / Raw(bytes(quoted))
            dropped(f"an ICMP error from {source}: {service}", error, "martian_source")
    quoted = IP(src=vip("any"), dst=CLIENT4) / TCP(sport=80, dport=40001)
    for router in ("10.0.0.1", "192.0.0.8"):
        error = to("any", src=router) / ICMP(type=3, code=4, nexthopmtu=1400) / Raw(bytes(quoted))
        forwarded(f"an ICMP error of a router at {router}", error, "any", flow=(6, 40001, 80), client=CLIENT4)


def cut(answer, mtu):
    """The answer with as much data as the MTU holds, sums made anew."""
    answer = copy.deepcopy(answer)
    extra = len(bytes(answer)) - mtu
    assert extra > 0
    if isinstance(answer, IPv6):
        answer[ICMPv6EchoReply].data = answer[ICMPv6EchoReply].data[:-extra]
    else:
        answer[Raw].load = answer[Raw].load[:-extra]
    assert len(bytes(answer)) == mtu
    return answer


def answers_that_are_cut():
    """RFC 1122 section 3.2.2.6, RFC 4443 section 4.2: of the data as much comes back as fits."""

    def data(length):
        return bytes((at * 37 + 11) & 0xFF for at in range(length))

    for length in (1600, 1601, 8972):
        question, answer = pair4("web", data(length))
        answered(f"a ping of {length} bytes of data", question, cut(answer, 1500))
        question, answer = pair6("web6", data(length))
        answered(f"a ping of {length} bytes of data, IPv6", question, cut(answer, 1500))
    answered("the largest ping that is answered whole", *pair4("web", data(1500 - 28)))
    question, answer = pair4("web", data(1500 - 27))
    answered("a ping one byte larger", question, cut(answer, 1500))
    answered("the largest ping that is answered whole, IPv6", *pair6("web6", data(1500 - 48)))
    question, answer = pair6("web6", data(1500 - 47))
    answered("a ping one byte larger, IPv6", question, cut(answer, 1500))
    record = [IPOption_RR(length=39, pointer=4, routers=["0.0.0.0"] * 9)]
    answered("options that are left out make room", *pair4("web", data(1500 - 28), options=record))
    answered("extension headers do, too", *pair6("web6", data(1500 - 48), destination_options(12)))
    question, answer = pair6("web6", data(1800), hop_options())
    answered("a large ping behind extension headers", question, cut(answer, 1500))
    question, answer = pair4("web", data(1600))
    answered("a large ping behind an 802.1Q tag", question, cut(answer, 1500), vlan=42)
    question, answer = pair4("web", bytes(1600), flags=0, tos=0xB8)
    answered("a large ping of zeros, without DF", question, cut(answer, 1500))
    for fill in (b"\0", b"\xff"):
        question, answer = pair6("web6", fill * 1600)
        answered(f"a large ping of {fill[0]}, IPv6", question, cut(answer, 1500))
    for mtu, config in ((NARROW_MTU, NARROW), (NARROW_MTU + 1, "narrow-odd.toml")):
        question, answer = pair4("web", data(1400))
        answered(f"a ping at an underlay MTU of {mtu}", question, cut(answer, mtu), config=config)


def narrow_underlay():
    """An underlay of 300 bytes carries IPv4: tunnels have room for 68 bytes and more."""
    room = NARROW_MTU - 24
    forwarded("what fits in a narrow underlay", of_length(room, "any-by-v4", flags="DF"), "any-by-v4", config=NARROW)
    for length in (room + 1, 1500):
        packet = of_length(length, "any-by-v4", flags="DF")
        header = IP(src=packet.dst, dst=packet.src, tos=0xC0, id=0, flags="DF", ttl=64)
        answer = header / ICMP(type=3, code=4, nexthopmtu=room) / Raw(bytes(packet)[: NARROW_MTU - 28])
        answered(f"{length} bytes are too many for it, and quoted as far as they fit", packet, answer, config=NARROW)
    in_parts("1500 bytes in many parts", of_length(1500, "any-by-v4"), "any-by-v4", mtu=NARROW_MTU, config=NARROW)


def no_room():
    """Nobody is told an MTU below 68 (RFC 791), and none of 0."""
    for length in (100, 1500):
        packet = of_length(length, "any-by-v4", flags="DF")
        dropped(f"{length} bytes where a tunnel has room for less than 68", packet, "too_big", config=HOPELESS)
    packet = of_length(100, "any", flags="DF")
    dropped("no room at all", packet, "too_big", config=HOPELESS)
    dropped("no room at all, without DF", of_length(100, "any"), "too_big", config=HOPELESS)
    packet = to("any-by-v4", flags="DF") / udp() / Raw(b"data")
    forwarded("what fits goes even so", packet, "any-by-v4", config=HOPELESS)


CHAPTER = (
    martian_sources,
    the_vip_itself,
    what_is_no_martian,
    errors_of_martians,
    answers_that_are_cut,
    narrow_underlay,
    no_room,
)
