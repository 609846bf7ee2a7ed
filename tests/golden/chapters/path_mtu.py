"""What the underlay says about its own MTU, remembered for each endpoint's address for ten minutes."""

from scapy.all import GRE, ICMP, IP, UDP, ICMPv6DestUnreach, ICMPv6PacketTooBig, ICMPv6TimeExceeded, IPv6, Raw

from chapters.too_big import does_not_fit, whole
from encapsulation import overhead
from frames import CLIENT4, CLIENT6, ether, of_length, tcp
from table import forwarded, in_parts, passed

NODE6, NODE4 = "2001:db8:51b::1", "192.0.2.1"
UNDERLAY6, UNDERLAY4 = "2001:db8:99::1", "198.51.100.254"
# So long before each section that nothing of the one before is remembered.
LATER = 700


def behind(protocol):
    """What stands behind an outer IP header of this protocol."""
    four, six = bytes(of_length(1280, "path")), bytes(of_length(1280, "path6"))
    return {
        4: four,
        6: bytes(tcp()),
        17: bytes(UDP(sport=50000, dport=6080) / Raw(bytes([0, 4, 0, 0]) + four)),
        41: six,
        47: bytes(GRE(proto=0x0800)) + four,
    }[protocol]


def outer6(protocol=47, src=NODE6, dst="2001:db8:10::100"):
    return IPv6(src=src, dst=dst, nh=protocol, hlim=60) / Raw(behind(protocol))


def outer4(protocol=47, src=NODE4, dst="198.51.100.100", length=1500):
    """Its header says `length`; reports quote no more than its beginning."""
    header = IP(src=src, dst=dst, proto=protocol, flags="DF", id=0, ttl=60, len=length)
    return header / Raw(behind(protocol))


def report6(mtu, quote, node=NODE6, kept=96):
    return IPv6(src=UNDERLAY6, dst=node, hlim=60) / ICMPv6PacketTooBig(mtu=mtu) / Raw(bytes(quote)[:kept])


def report4(mtu, quote, node=NODE4, kept=28):
    header = IP(src=UNDERLAY4, dst=node, ttl=60)
    return header / ICMP(type=3, code=4, nexthopmtu=mtu) / Raw(bytes(quote)[:kept])


def holds(mtu, why, *services):
    """The largest packet fits, one byte more does not, and the answer names the largest; that much for the others."""
    for at, service in enumerate(services):
        largest = mtu - overhead(service)
        if at == 0:
            packet = of_length(largest, service, **whole(service))
            forwarded(f"{why}: {largest} bytes fit, {service}", packet, service)
        packet = of_length(largest + 1, service, **whole(service))
        does_not_fit(f"{why}: one more does not, {service}", packet, largest)


def learned_over_ipv6():
    holds(1500, "nothing is learned yet", "path", "path6")
    passed("the underlay says 1400 to the node itself", report6(1400, outer6()))
    holds(1400, "a path MTU of 1400 is for all that goes to the address", "path", "path6", "path-ipip", "path-gue6")
    holds(1500, "and for no other address", "path-other")
    passed("a larger value", report6(1450, outer6()))
    holds(1400, "a larger value changes nothing", "path")
    passed("a smaller value", report6(1390, outer6()))
    holds(1390, "a smaller value counts", "path", "path6")
    passed("a value below 1280", report6(1279, outer6()))
    holds(1390, "a value below 1280 is not believed (RFC 8201, section 4)", "path")
    passed("the smallest value of IPv6", report6(1280, outer6()))
    holds(1280, "the smallest value of IPv6 counts", "path")
    does_not_fit("1281 bytes of IPv6 are answered with 1280", of_length(1281, "path6"), 1280 - 44)
    forwarded("1280 bytes of IPv6 go all the same", of_length(1280, "path6"), "path6")
    forwarded("1236 bytes of IPv6 fit", of_length(1236, "path6"), "path6")
    in_parts("IPv4 without DF goes in parts that fit the path", of_length(1500, "path"), "path", mtu=1280)


def remembered_for_ten_minutes():
    passed("the underlay says 1400 again", report6(1400, outer6()), after=LATER)
    holds(1400, "a path MTU is new", "path")
    does_not_fit("after 599 seconds it is remembered", of_length(1357, "path", flags="DF"), 1356, after=598.8)
    forwarded("after 601 seconds it is forgotten", of_length(1357, "path", flags="DF"), "path", after=2)
    holds(1500, "the MTU is the underlay's again", "path", "path6")


def learned_from_each_encapsulation():
    for protocol, name in ((47, "GRE"), (4, "IPv4 in IP"), (41, "IPv6 in IP"), (17, "GUE")):
        passed(f"a quote of {name}", report6(1400, outer6(protocol)), after=LATER)
        does_not_fit(f"a quote of {name} counts", of_length(1357, "path", flags="DF"), 1356)
        passed(f"a quote of {name}, IPv4", report4(1400, outer4(protocol)))
        does_not_fit(f"a quote of {name} counts, IPv4", of_length(1377, "path-by-v4", flags="DF"), 1376)
    passed("a quote in an 802.1Q tag", ether(report6(1400, outer6()), vlan=42), after=LATER)
    holds(1400, "a quote in an 802.1Q tag counts", "path")
    for kept in (48, 1232):
        passed(f"a quote of {kept} bytes", report6(1400, outer6(), kept=kept), after=LATER)
        holds(1400, f"a quote of {kept} bytes counts", "path")
    passed("a value of the underlay's own MTU and more", report6(9000, outer6()), after=LATER)
    holds(1500, "more than the underlay's MTU changes nothing", "path")


def learned_over_ipv4():
    services = ("path-by-v4", "path6-by-v4", "path-ipip-by-v4", "path-gue-by-v4")
    passed("the underlay says 1400, IPv4", report4(1400, outer4()), after=LATER)
    holds(1400, "a path MTU of 1400 over IPv4", *services)
    holds(1500, "and for no other address over IPv4", "path-other-by-v4")
    passed("a larger value, IPv4", report4(1401, outer4()))
    holds(1400, "a larger value changes nothing over IPv4", "path-by-v4")
    passed("a value below 1280 over IPv4", report4(1000, outer4()))
    holds(1000, "a value below 1280 counts over IPv4", "path-by-v4", "path-ipip-by-v4")
    passed("a value below 552", report4(68, outer4()))
    holds(552, "a value below 552 counts as 552", "path-by-v4")
    in_parts("IPv4 without DF in three parts", of_length(1500, "path-by-v4"), "path-by-v4", mtu=552)
    in_parts("IPv4 without DF in three parts, GUE", of_length(1500, "path-gue-by-v4"), "path-gue-by-v4", mtu=552)
    does_not_fit("1281 bytes of IPv6 over 552 are answered with 1280", of_length(1281, "path6-by-v4"), 552 - 24)
    forwarded("1280 bytes of IPv6 over 552 go all the same", of_length(1280, "path6-by-v4"), "path6-by-v4")
    forwarded("528 bytes of IPv6 fit", of_length(528, "path6-by-v4"), "path6-by-v4")


def without_a_value():
    """Routers before RFC 1191 say 0: the next lower plateau of its section 7."""
    for length, plateau in ((1500, 1492), (1493, 1492), (1492, 1006), (1100, 1006), (1006, 552), (600, 552)):
        passed(f"no value, about {length} bytes", report4(0, outer4(length=length)), after=LATER)
        holds(plateau, f"no value, about {length} bytes: {plateau}", "path-by-v4")


def what_changes_nothing():
    six = {
        "a source that is not the node's": report6(1400, outer6(src="2001:db8:51b::2")),
        "a destination that is no endpoint": report6(1400, outer6(dst="2001:db8:10::999")),
        "TCP": report6(1400, outer6(6)),
        "39 bytes of a header": report6(1400, outer6(), kept=39),
        "nothing": report6(1400, b""),
        "IPv4": report6(1400, outer4()),
        "an endpoint unreachable": IPv6(src=UNDERLAY6, dst=NODE6) / ICMPv6DestUnreach() / Raw(bytes(outer6())[:96]),
        "a hop limit that ran out": IPv6(src=UNDERLAY6, dst=NODE6) / ICMPv6TimeExceeded() / Raw(bytes(outer6())[:96]),
    }
    four = {
        "a source that is not the node's": report4(1400, outer4(src="192.0.2.2")),
        "a destination that is no endpoint": report4(1400, outer4(dst="198.51.100.99")),
        "TCP": report4(1400, outer4(6)),
        "19 bytes of a header": report4(1400, outer4(), kept=19),
        "nothing": report4(1400, b""),
        "IPv6": report4(1400, outer6(), kept=548),
        "a port unreachable": IP(src=UNDERLAY4, dst=NODE4) / ICMP(type=3, code=3) / Raw(bytes(outer4())[:28]),
        "a TTL that ran out": IP(src=UNDERLAY4, dst=NODE4) / ICMP(type=11, code=0) / Raw(bytes(outer4())[:28]),
    }
    for at, (name, report) in enumerate(six.items()):
        passed(f"an ICMPv6 error to the node that quotes {name}", report, after=0.1 if at else LATER)
    holds(1500, "none of those changes a path MTU", "path", "path6")
    for name, report in four.items():
        passed(f"an ICMP error to the node that quotes {name}", report)
    holds(1500, "none of those changes a path MTU over IPv4", "path-by-v4", "path6-by-v4")
    passed("any other packet to the node itself", IPv6(src=CLIENT6, dst=NODE6) / tcp(179))
    passed("any other packet to the node itself, IPv4", IP(src=CLIENT4, dst=NODE4) / tcp(179))


def to_an_outer_source_of_a_prefix():
    entropy = {"config": "entropy.toml"}
    for report, service, largest in (
        (report6(1400, outer6(src="2001:db8:51b::abcd:1234"), node="2001:db8:51b::abcd:1234"), "path", 1356),
        (report4(1400, outer4(src="192.0.2.200"), node="192.0.2.200"), "path-by-v4", 1376),
    ):
        passed(f"a report to an outer source of a prefix: {service}", ether(report), **entropy)
        packet = of_length(largest, service, flags="DF")
        forwarded(f"a path MTU is the endpoint's, not the outer source's: {service}", packet, service, **entropy)
        packet = of_length(largest + 1, service, flags="DF")
        does_not_fit(f"a path MTU is the endpoint's, one byte too many: {service}", packet, largest, **entropy)


CHAPTER = (
    learned_over_ipv6,
    remembered_for_ten_minutes,
    learned_from_each_encapsulation,
    learned_over_ipv4,
    without_a_value,
    what_changes_nothing,
    to_an_outer_source_of_a_prefix,
)
