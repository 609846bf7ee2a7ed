"""What is not for a VIP, or is for the host's own neighbour discovery, and passes to the kernel."""

from scapy.all import (
    ARP,
    IP,
    Ether,
    ICMPv6ND_NA,
    ICMPv6ND_NS,
    ICMPv6ND_RA,
    ICMPv6ND_Redirect,
    ICMPv6ND_RS,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrFragment,
    Raw,
)

from frames import CLIENT4, ROUTER_MAC, destination_options, ether, hop_options, ip4, ip6, tcp, to, vip
from table import forwarded, no_service, passed


def not_for_us():
    passed("an address that is no VIP", ether(ip4("203.0.113.9") / tcp()))
    passed("an IPv6 address that is no VIP", ether(ip6("2001:db8:1::9") / tcp()))
    passed("an address just before a VIP prefix", ether(ip4("203.0.113.127") / tcp()))
    passed("an address just behind a VIP prefix", ether(ip4("203.0.113.144") / tcp()))
    passed("a VIP as source only", ether(IP(src=vip("web"), dst=CLIENT4) / tcp()))
    passed(
        "ARP for a VIP",
        bytes(
            Ether(src=ROUTER_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=ROUTER_MAC, psrc="192.0.2.254", pdst=vip("web"))
        ),
    )
    passed(
        "a neighbour solicitation for a VIP",
        bytes(
            Ether(src=ROUTER_MAC, dst="33:33:ff:00:00:10")
            / IPv6(src="fe80::fd", dst="ff02::1:ff00:10", hlim=255)
            / ICMPv6ND_NS(tgt=vip("web6"))
        ),
    )
    passed("LLDP", bytes(Ether(src=ROUTER_MAC, dst="01:80:c2:00:00:0e", type=0x88CC) / Raw(bytes(46))))
    passed("no VIP behind an 802.1Q tag", ether(ip4("203.0.113.9") / tcp(), vlan=42))


def neighbour_discovery():
    """Types 133 to 137 with a hop limit of 255 are the host's, also where they are for a VIP (RFC 4861)."""
    messages = {
        133: ICMPv6ND_RS(),
        134: ICMPv6ND_RA(),
        135: ICMPv6ND_NS(tgt=vip("any6")),
        136: ICMPv6ND_NA(),
        137: ICMPv6ND_Redirect(),
    }
    for kind, message in messages.items():
        passed(f"neighbour discovery, type {kind}", to("any6", hlim=255) / message)
        forwarded(f"type {kind} with a hop limit of 254 is like any packet", to("any6", hlim=254) / message, "any6")
        behind = to("any6", hlim=255) / destination_options() / message
        forwarded(f"type {kind} behind an extension header is like any packet", behind, "any6")
    solicitation = messages[135]
    passed("a solicitation of a VIP of TCP", to("web6", hlim=255) / solicitation)
    passed("a solicitation in an 802.1Q tag", ether(to("web6", hlim=255) / solicitation, vlan=42))
    no_service("a solicitation from afar", to("web6", hlim=254) / solicitation)
    no_service("a solicitation behind hop-by-hop options", to("web6", hlim=255) / hop_options() / solicitation)
    atomic = IPv6ExtHdrFragment(offset=0, m=0, id=300)
    no_service("a solicitation behind a fragment header (RFC 6980)", to("web6", hlim=255) / atomic / solicitation)
    for kind in (132, 138):
        other = to("any6", hlim=255) / ICMPv6Unknown(type=kind, msgbody=bytes(20))
        forwarded(f"type {kind} is not neighbour discovery", other, "any6")


CHAPTER = (not_for_us, neighbour_discovery)
