"""Which service a packet is for, and who may send to it."""

from scapy.all import ICMP, Raw

from frames import ip4, ip6, tcp, to, udp
from table import dropped, forwarded, no_service


def matching():
    for port, wanted in (
        (80, True),
        (8000, True),
        (8050, True),
        (8099, True),
        (79, False),
        (81, False),
        (7999, False),
        (8100, False),
    ):
        for service in ("web", "web6"):
            packet = to(service) / tcp(port)
            if not wanted:
                no_service(f"{service}: port {port} is not served", packet)
            elif port != 80:
                forwarded(f"{service}: port {port} is", packet, service)
    no_service("UDP to a VIP of TCP", to("web") / udp(80))
    no_service("TCP to a VIP of UDP, IPv6", to("dns6") / tcp(53))
    no_service("ESP to a VIP of TCP", to("web", proto=50) / Raw(bytes(24)))
    timestamp = ICMP(type=13, id=1, seq=1, ts_ori=1, ts_rx=0, ts_tx=0)
    no_service("an ICMP timestamp request to a VIP of TCP", to("web") / timestamp)
    no_service("the source port does not count", to("web") / tcp(dport=9, sport=80))
    forwarded("a VIP prefix: its first address", to("pool") / udp(), "pool")
    forwarded("a VIP prefix: its last address", ip4("203.0.113.143") / udp(), "pool")
    forwarded("a VIP prefix: a port of its own", ip4("203.0.113.129") / tcp(22), "pool-ssh")
    forwarded(
        "an address before a prefix, though the prefix names the port", ip4("203.0.113.130") / tcp(22), "pool-one-tcp"
    )
    forwarded("an address before a prefix, every protocol", ip4("203.0.113.130") / udp(22), "pool-one")
    forwarded("a port before none", ip4("203.0.113.130") / tcp(80), "pool-one-port")
    forwarded("an IPv6 prefix", ip6("2001:db8:1:f:ffff:ffff:ffff:ffff") / udp(), "pool6")
    dropped("no endpoints", to("empty") / tcp(), "no_endpoint", service="empty", endpoint=None)
    dropped("all endpoints down", to("all-down") / tcp(), "no_endpoint", service="all-down", endpoint=None)
    dropped("a TTL of 0", to("web", ttl=0) / tcp(), "ttl_expired")
    dropped("a hop limit of 0", to("web6", hlim=0) / tcp(), "ttl_expired")


def not_allowed(description, packet, service):
    dropped(description, packet, "not_allowed", service=service, endpoint=None)


def allow():
    forwarded("an allowed source", to("limited") / tcp(), "limited")
    forwarded("an allowed source, IPv6", to("limited6") / tcp(), "limited6")
    not_allowed("a source that is not allowed", to("limited", src="198.19.0.7") / tcp(), "limited")
    not_allowed("an IPv6 source that is not allowed", to("limited6", src="2001:db8:d::7") / tcp(), "limited6")
    sources = {
        "several": {
            "the first address of a prefix": ("198.18.0.0", True),
            "the last address of the shorter of two that overlap": ("198.18.255.255", True),
            "in both that overlap": ("198.18.0.255", True),
            "one before a prefix": ("198.17.255.255", False),
            "one behind the prefixes that overlap": ("198.19.0.0", False),
            "one before a small prefix": ("198.19.4.3", False),
            "the first of a small prefix": ("198.19.4.4", True),
            "the last of a small prefix": ("198.19.4.7", True),
            "one behind a small prefix": ("198.19.4.8", False),
            "a single address": ("192.0.2.77", True),
            "one beside a single address": ("192.0.2.76", False),
        },
        "several6": {
            "the first address of a prefix": ("2001:db8:c::", True),
            "the last address of the shorter of two that overlap": ("2001:db8:c:ffff:ffff:ffff:ffff:ffff", True),
            "in both that overlap": ("2001:db8:c:0:ffff:ffff:ffff:ffff", True),
            "one before the prefixes that overlap": ("2001:db8:b:ffff:ffff:ffff:ffff:ffff", False),
            "one behind the prefixes that overlap": ("2001:db8:d::", False),
            "one before a small prefix": ("2001:db8:d::7", False),
            "the first of a small prefix": ("2001:db8:d::8", True),
            "the last of a small prefix": ("2001:db8:d::b", True),
            "one behind a small prefix": ("2001:db8:d::c", False),
            "a single address": ("2001:db8:ffff::7", True),
            "one beside a single address": ("2001:db8:ffff::6", False),
        },
        "everyone": {"a prefix and all": ("198.18.0.7", True), "all": ("8.8.8.8", True)},
        "everyone6": {"a prefix and all": ("2001:db8:c::7", True), "all": ("2600::7", True)},
    }
    for service, addresses in sources.items():
        for name, (source, allowed) in addresses.items():
            packet = to(service, src=source) / tcp()
            if allowed:
                forwarded(f"{service} allows {source}: {name}", packet, service)
            else:
                not_allowed(f"{service} does not allow {source}: {name}", packet, service)


CHAPTER = (matching, allow)
