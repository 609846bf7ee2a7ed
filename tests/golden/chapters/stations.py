"""Which stations a frame names: only what goes from one to one is forwarded, and answers leave from the interface's own."""

from scapy.all import ICMP, IP, ARP, Ether, ICMPv6EchoReply, ICMPv6ND_NS, IPv6, Raw

from frames import (
    BROADCAST_MAC,
    CLIENT4,
    CLIENT6,
    GROUP_MACS,
    OTHER_MAC,
    ROUTER_MAC,
    ether,
    ip4,
    ip6,
    ping,
    tcp,
    to,
    vip,
)
from table import answered, case, dropped, passed


def group(description, frame, **more):
    dropped(description, frame, "group_frame", service=None, endpoint=None, **more)


def frames_for_many():
    """Each node on a link would send a copy (RFC 1812 section 5.3.4, RFC 1122 section 3.2.2)."""
    for service in ("web", "web6"):
        for mac in GROUP_MACS:
            for vlan in (None, 42):
                tagged = "" if vlan is None else ", tagged"
                frame = ether(to(service) / tcp(), vlan, dst=mac)
                group(f"a segment in a frame to {mac}{tagged}: {service}", frame)
                frame = ether(to(service) / tcp(), vlan, src=mac)
                group(f"a segment in a frame that names {mac} as its sender{tagged}: {service}", frame)
        group(f"a ping in a frame to all: {service}", ether(to(service) / ping(service), dst=BROADCAST_MAC))
        cut_off = ether(to(service) / tcp(), dst=BROADCAST_MAC)[:58]
        group(f"half a segment in a frame to all: {service}", cut_off)
        group(f"a port that no service has, in a frame to all: {service}", ether(to(service) / tcp(81), dst=BROADCAST_MAC))


def frames_for_many_that_are_the_hosts():
    passed("IPv4 to no VIP in a frame to all", ether(ip4("203.0.113.9") / tcp(), dst=BROADCAST_MAC))
    passed("IPv6 to no VIP in a frame to many", ether(ip6("2001:db8:1::9") / tcp(), dst=GROUP_MACS[1]))
    solicitation = to("web6", hlim=255) / ICMPv6ND_NS(tgt=vip("web6"))
    passed("a solicitation for a VIP in a frame to many", ether(solicitation, dst=GROUP_MACS[1]))
    request = ARP(hwsrc=ROUTER_MAC, psrc="192.0.2.254", pdst=vip("web"))
    passed("ARP for a VIP in a frame from a group", bytes(Ether(src=GROUP_MACS[4], dst=BROADCAST_MAC) / request))


def frames_for_another_station():
    """A switch that floods, or an interface in promiscuous mode, brings them."""
    data = bytes(range(40))
    question = to("web", id=0, flags="DF") / ICMP(type=8, id=77, seq=3) / Raw(data)
    answer = IP(src=vip("web"), dst=CLIENT4, id=0, flags="DF", ttl=64) / ICMP(type=0, id=77, seq=3) / Raw(data)
    answered("a ping in a frame to another station", question, answer, to_station=OTHER_MAC)
    answered("a ping in a frame to another station, tagged", question, answer, vlan=42, to_station=OTHER_MAC)
    question = to("web6", fl=0) / ping("web6")
    answer = IPv6(src=vip("web6"), dst=CLIENT6, hlim=64) / ICMPv6EchoReply(**answered_fields(question))
    answered("a ping in a frame to another station, IPv6", question, answer, to_station=OTHER_MAC)


def answered_fields(question):
    """Of an echo request of ICMPv6, what its reply has, too."""
    request = question.lastlayer() if question.lastlayer().name.startswith("ICMPv6") else question[1]
    return {"id": request.id, "seq": request.seq, "data": request.data}


CHAPTER = (frames_for_many, frames_for_many_that_are_the_hosts, frames_for_another_station)
