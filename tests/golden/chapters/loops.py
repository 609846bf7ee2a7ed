"""The node's own tunnels, sent to a VIP, are not put into another tunnel."""

from scapy.all import GRE, IP, UDP, IPv6, Raw

from frames import CLIENT4, CLIENT6, is6, ping, tcp, to, udp
from table import dropped, forwarded, passed

NODE4, NODE6 = "192.0.2.1", "2001:db8:51b::1"
INSIDE = IP(src=CLIENT4, dst="203.0.113.9") / UDP(sport=1, dport=2)
INSIDE6 = IPv6(src=CLIENT6, dst="2001:db8:1::9") / UDP(sport=1, dport=2)


def loops():
    for service, node in (("any", NODE4), ("any6", NODE6), ("any-by-v4", NODE4), ("any6-by-v4", NODE6)):

        def own(protocol=None, source=node):
            chosen = {} if protocol is None else {"nh" if is6(service) else "proto": protocol}
            return to(service, src=source, **chosen)

        gue = Raw(bytes([0, 4, 0, 0]) + bytes(INSIDE))
        dropped(f"GRE from the node itself: {service}", own() / GRE() / INSIDE, "loop")
        dropped(f"IPv4 in IP from the node itself: {service}", own(4) / INSIDE, "loop")
        dropped(f"IPv6 in IP from the node itself: {service}", own(41) / INSIDE6, "loop")
        dropped(f"GUE from the node itself: {service}", own() / UDP(sport=50000, dport=6080) / gue, "loop")
        dropped(
            f"GUE to a port that another service has: {service}", own() / UDP(sport=50000, dport=7000) / gue, "loop"
        )
        forwarded(f"UDP from the node to a port that is no GUE's: {service}", own() / udp(6079), service)
        forwarded(f"UDP from the GUE port is not GUE: {service}", own() / udp(53, sport=6080), service)
        forwarded(f"TCP from the node itself: {service}", own() / tcp(), service)
        forwarded(f"TCP to the GUE port: {service}", own() / tcp(6080), service)
        forwarded(f"a ping from the node itself: {service}", own() / ping(service), service)
        other = "2001:db8:51b::2" if is6(service) else "192.0.2.2"
        forwarded(f"GRE from another node: {service}", own(source=other) / GRE() / INSIDE, service, flow=(47, 0, 0))
        forwarded(f"GUE from another node: {service}", own(source=other) / udp(6080) / gue, service)
        within = "2001:db8:51b::abcd:1234" if is6(service) else "192.0.2.200"
        packet = own(source=within) / GRE() / INSIDE
        dropped(f"GRE from an outer source of a prefix: {service}", packet, "loop", config="entropy.toml")


def outer_packets_themselves():
    """What the network sends back is addressed to the endpoint, not to a VIP: the kernel's, as the steering program has it."""
    six = IPv6(src=NODE6, dst="2001:db8:10::a") / GRE() / INSIDE
    four = IP(src=NODE4, dst="198.51.100.10") / GRE() / INSIDE
    for packet, family in ((six, "IPv6"), (four, "IPv4")):
        passed(f"an outer packet that comes back, {family}", packet)
    passed("the host's own TCP that comes back is the kernel's", IP(src=NODE4, dst="198.51.100.10") / tcp())


CHAPTER = (loops, outer_packets_themselves)
