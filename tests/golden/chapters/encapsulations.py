"""What stands in front of the packet: GRE, IP in IP, GUE, MPLS, and outer sources with entropy."""

from scapy.all import Raw

from encapsulation import encapsulated, endpoint_of, hash_of
from frames import is6, of_length, tcp, to, udp
from table import CASES, dropped, forwarded, settings

FAMILIES = ("", "-by-v4", "6", "6-by-v4")
TUNNELS = ("any", "ipip", "gue", "gue-summed", "gue-unsummed", "gue-port", "mpls", "mpls-gre")
SEED = bytes.fromhex(settings("config.toml")["hash"]["seed"])


def mix(service):
    return f"IPv{6 if is6(service) else 4} over IPv{6 if ':' in endpoint_of(service)['address'] else 4}"


def every_encapsulation():
    names = {
        "ipip": "IP in IP has no header between: protocol 4 or 41",
        "gue": "GUE without a word on checksums: computed over IPv6, zero over IPv4",
        "gue-summed": "GUE with checksums: computed over IPv6 and IPv4",
        "gue-unsummed": "GUE without checksums: zero over IPv6 and IPv4",
        "gue-port": "GUE to a port of one's own",
        "mpls": "MPLS without a label: explicit null, 0 for an IPv4 VIP, 2 for an IPv6 VIP; no outer IP header",
        "mpls-gre": "MPLS over GRE: the outer IP header's protocol is GRE, GRE's is MPLS",
    }
    for encap, rule in names.items():
        for family in FAMILIES:
            service = encap + family
            forwarded(f"{rule}: TCP, {mix(service)}", to(service) / tcp(), service)
            forwarded(f"{rule}: UDP of odd length, {mix(service)}", of_length(91, service), service)
    forwarded("the least MPLS label that is not reserved", to("mpls-least") / tcp(), "mpls-least")
    forwarded("the largest MPLS label, IPv6", to("mpls-most") / tcp(), "mpls-most")
    forwarded("an MPLS label over GRE", to("mpls-gre-label") / tcp(), "mpls-gre-label")
    forwarded("an MPLS label over GRE, IPv6 over IPv4", to("mpls-gre-label6-by-v4") / tcp(), "mpls-gre-label6-by-v4")
    forwarded("a GRE key over IPv4", to("keyed-by-v4") / tcp(), "keyed-by-v4")
    forwarded("a GRE key, IPv6 over IPv6", to("keyed6") / tcp(), "keyed6")


def traffic_classes_and_tags():
    """DSCP, ECN, the MPLS traffic class and the 802.1Q tag, for each encapsulation."""
    for encap in TUNNELS[1:]:
        for at, family in enumerate(FAMILIES):
            service, traffic_class = encap + family, (0xB9, 0x22, 0xFF, 0x8B)[at]
            packet = to(service, **{"tc" if is6(service) else "tos": traffic_class}) / udp()
            name = f"{encap}, {mix(service)}"
            carried = "the upper three bits of the DSCP are MPLS's" if "mpls" in encap else "DSCP and ECN are copied"
            forwarded(f"{carried}: {traffic_class:#04x}, {name}", packet, service)
            forwarded(f"a DSCP by policy: inner {traffic_class:#04x}, {name}", packet, service, config="dscp.toml")
            forwarded(f"the hop limit is the config's: {name}", packet, service, config="hops.toml")
            forwarded(f"an 802.1Q tag stays with a static next hop: {name}", packet, service, vlan=42)


def tcp_whose_hash(service, wanted):
    """A TCP SYN of the lowest source port whose flow hash is as wanted."""
    for sport in range(1024, 65536):
        packet = to(service) / tcp(sport=sport)
        if wanted(hash_of(service, packet.src, packet.dst, (6, sport, 80), SEED)):
            return packet
    raise LookupError(service)


def entropy_from_the_flow_hash():
    forwarded("the GUE source port begins at 49152", tcp_whose_hash("gue", lambda h: h >> 16 & 0x3FFF < 8), "gue")
    forwarded("and ends at 65535", tcp_whose_hash("gue", lambda h: h >> 16 & 0x3FFF > 0x3FF8), "gue")
    forwarded(
        "the same GUE source port for other packets of the flow", to("gue") / tcp(flags="A") / Raw(b"more"), "gue"
    )
    for encap in ("any", "ipip", "gue", "mpls-gre"):
        for family in FAMILIES:
            service = encap + family
            forwarded(
                f"an outer source of a prefix, /96 or /24: the hash's low bits, {encap}, {mix(service)}",
                to(service) / tcp(),
                service,
                config="entropy.toml",
            )
    for service in ("any", "any-by-v4"):
        kind = "/64: the whole hash" if service == "any" else "/31: one host bit is 1 in all flows"
        for bit in (0, 1):
            packet = tcp_whose_hash(service, lambda hash_: hash_ & 1 == bit)
            forwarded(
                f"an outer source of a prefix, {kind}, hash ends in {bit}", packet, service, config="entropy-wide.toml"
            )
        for low in range(4):
            packet = tcp_whose_hash(service, lambda hash_: hash_ & 3 == low)
            rule = {0: ", which becomes 1", 3: ", which becomes 2 in IPv4"}.get(low, "")
            forwarded(
                f"an outer source with two host bits, hash ends in {low:02b}{rule}, {mix(service)}",
                packet,
                service,
                config="entropy-narrow.toml",
            )
    packet = tcp_whose_hash("any-by-v4", lambda hash_: hash_ & 0xFF == 0)
    forwarded("host bits all 0 become 1, /24", packet, "any-by-v4", config="entropy.toml")
    packet = tcp_whose_hash("any-by-v4", lambda hash_: hash_ & 0xFF == 0xFF)
    forwarded("host bits all 1 become one less, /24", packet, "any-by-v4", config="entropy.toml")
    forwarded("affinity client: one outer source for all", to("by-client") / tcp(), "by-client", config="entropy.toml")
    forwarded("affinity client: another flow, the same", to("by-client") / udp(), "by-client", config="entropy.toml")


def gue_checksum_of_zero():
    """A computed checksum of 0 is sent as 0xffff, as 0 would say that there is none (RFC 768)."""
    for service in ("gue", "gue6", "gue-summed-by-v4", "gue-summed6-by-v4"):
        protocol = {"nh": 253} if is6(service) else {"proto": 253}
        plain = to(service, **protocol) / Raw(bytes(8))
        hash_ = hash_of(service, plain.src, plain.dst, (253, 0, 0), SEED)
        frame = encapsulated(bytes(plain), service, hash_, settings("config.toml")["underlay"], None)
        checksum_at = len(frame) - len(bytes(plain)) - 4 - 2
        missing = frame[checksum_at : checksum_at + 2]
        packet = to(service, **protocol) / Raw(missing + bytes(6))
        forwarded(f"a GUE checksum of 0 is sent as 0xffff: {service}", packet, service, flow=(253, 0, 0))
        assert bytes.fromhex(CASES[-1]["out"])[checksum_at : checksum_at + 2] == b"\xff\xff"


def without_an_outer_source():
    dropped(
        "an endpoint over IPv4 of a node without an IPv4 source",
        to("web-by-v4") / tcp(),
        "no_outer_source",
        service="web-by-v4",
        config="only-v6.toml",
    )
    forwarded("its other endpoints are reached", to("web6") / tcp(), "web6", config="only-v6.toml")
    dropped(
        "an endpoint over IPv6 of a node without an IPv6 source",
        to("gue6") / tcp(),
        "no_outer_source",
        service="gue6",
        config="only-v4.toml",
    )
    forwarded("its other endpoints are reached, over IPv4", to("web-by-v4") / tcp(), "web-by-v4", config="only-v4.toml")
    forwarded("MPLS needs no outer source", to("mpls") / tcp(), "mpls", config="only-v4.toml")


CHAPTER = (
    every_encapsulation,
    traffic_classes_and_tags,
    entropy_from_the_flow_hash,
    gue_checksum_of_zero,
    without_an_outer_source,
)
