// SPDX-License-Identifier: MIT OR Apache-2.0
//
// decap: takes packets for the VIPs out of their tunnel, as they come in by an endpoint's interface.
//
//     Ethernet [802.1Q] outer-IP GRE inner-IP ...        becomes  Ethernet [802.1Q] inner-IP ...
//     Ethernet [802.1Q] outer-IP GRE MPLS inner-IP ...
//     Ethernet [802.1Q] outer-IP inner-IP ...
//     Ethernet [802.1Q] outer-IP UDP GUE inner-IP ...
//     Ethernet [802.1Q] MPLS inner-IP ...
//
// An outer protocol is a case in `behind_ip`, or in `decap` where it follows Ethernet, with a function of its own that
// leaves in `struct tunnel` where the inner packet begins and what it is. Everything else, malformed or not, passes
// untouched: it is the kernel's to judge.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VIPS 4096

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff

// RFC 2890: a key follows. Any other flag, and any version but 0, is not ours to understand.
#define GRE_KEY 0x2000

// RFC 3032: behind the label and the traffic class.
#define MPLS_BOTTOM_OF_STACK 0x100

// The UDP port that GUE comes by; the loader sets it.
const volatile __u16 gue_port = 6080;

struct vlan_header {
	__be16 control;
	__be16 ethertype;
};

// The tag is there only where `ethernet` says so.
struct link_header {
	struct ethhdr ethernet;
	struct vlan_header vlan;
} __attribute__((packed));

struct gre_header {
	__be16 flags;
	__be16 protocol;
};

// Variant 0 of draft-ietf-intarea-gue-09.
struct gue_header {
	__u8 kind; // variant, control bit, words of fields behind this header
	__u8 protocol;
	__be16 flags;
};

// An IP address; IPv4 as ::ffff:a.b.c.d (RFC 4291, section 2.5.5.2).
struct address {
	__u8 bytes[16];
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct address);
	__type(value, __u8);
} vips SEC(".maps");

// Where the outer headers are and what lies inside, in bytes from the frame's start.
//
// Headers are read by `read`, not by pointers: the verifier lets only CAP_PERFMON add a varying length to a pointer.
struct tunnel {
	struct xdp_md *frame;
	__u32 outer; // behind the Ethernet header and its tag
	__u32 inner;
	__be16 inner_ethertype;
};

// Copies bytes of the frame; 0 where it is shorter.
static __always_inline int read(struct tunnel *tunnel, __u32 at, void *into, __u32 length)
{
	return bpf_xdp_load_bytes(tunnel->frame, at, into, length) == 0;
}

// An inner packet that begins here, named by its IP protocol number.
static __always_inline int inner_ip(struct tunnel *tunnel, __u32 at, __u8 protocol)
{
	tunnel->inner = at;
	switch (protocol) {
	case IPPROTO_IPIP:
		tunnel->inner_ethertype = bpf_htons(ETH_P_IP);
		return 1;
	case IPPROTO_IPV6:
		tunnel->inner_ethertype = bpf_htons(ETH_P_IPV6);
		return 1;
	default:
		return 0;
	}
}

// A label stack that begins here: one label, whichever. The inner packet's family is in its own first bits.
static __always_inline int mpls(struct tunnel *tunnel, __u32 at)
{
	__be32 entry;
	__u8 version;

	if (!read(tunnel, at, &entry, sizeof(entry)) || !(entry & bpf_htonl(MPLS_BOTTOM_OF_STACK)))
		return 0;
	at += sizeof(entry);
	if (!read(tunnel, at, &version, sizeof(version)))
		return 0;
	return inner_ip(tunnel, at, version >> 4 == 4 ? IPPROTO_IPIP : IPPROTO_IPV6);
}

// A GRE header that begins here.
static __always_inline int gre(struct tunnel *tunnel, __u32 at)
{
	struct gre_header header;

	if (!read(tunnel, at, &header, sizeof(header)))
		return 0;
	if (header.flags & ~bpf_htons(GRE_KEY))
		return 0;
	at += sizeof(header);
	if (header.flags)
		at += sizeof(__be32);
	// RFC 4023
	if (header.protocol == bpf_htons(ETH_P_MPLS_UC))
		return mpls(tunnel, at);
	tunnel->inner_ethertype = header.protocol;
	tunnel->inner = at;
	return 1;
}

// A UDP header that begins here. Its checksum is not looked at: the inner packet has its own.
static __always_inline int gue(struct tunnel *tunnel, __u32 at)
{
	struct {
		struct udphdr udp;
		struct gue_header gue;
	} header;

	if (!read(tunnel, at, &header, sizeof(header)) || header.udp.dest != bpf_htons(gue_port))
		return 0;
	if (header.gue.kind || header.gue.flags)
		return 0;
	return inner_ip(tunnel, at + sizeof(header), header.gue.protocol);
}

// What begins here, named by its IP protocol number.
static __always_inline int behind_ip(struct tunnel *tunnel, __u32 at, __u8 protocol)
{
	switch (protocol) {
	case IPPROTO_GRE:
		return gre(tunnel, at);
	case IPPROTO_UDP:
		return gue(tunnel, at);
	default:
		return inner_ip(tunnel, at, protocol);
	}
}

static __always_inline int outer_ipv4(struct tunnel *tunnel)
{
	struct iphdr ip;

	if (!read(tunnel, tunnel->outer, &ip, sizeof(ip)))
		return 0;
	if (ip.version != 4 || ip.ihl < 5)
		return 0;
	if (ip.frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET))
		return 0;
	return behind_ip(tunnel, tunnel->outer + ip.ihl * 4, ip.protocol);
}

static __always_inline int outer_ipv6(struct tunnel *tunnel)
{
	struct ipv6hdr ip;

	if (!read(tunnel, tunnel->outer, &ip, sizeof(ip)))
		return 0;
	if (ip.version != 6)
		return 0;
	return behind_ip(tunnel, tunnel->outer + sizeof(ip), ip.nexthdr);
}

static __always_inline int inner_destination(struct tunnel *tunnel, struct address *destination)
{
	if (tunnel->inner_ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr ip;

		if (!read(tunnel, tunnel->inner, &ip, sizeof(ip)) || ip.version != 4)
			return 0;
		destination->bytes[10] = 0xff;
		destination->bytes[11] = 0xff;
		__builtin_memcpy(&destination->bytes[12], &ip.daddr, 4);
		return 1;
	}
	if (tunnel->inner_ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr ip;

		if (!read(tunnel, tunnel->inner, &ip, sizeof(ip)) || ip.version != 6)
			return 0;
		__builtin_memcpy(destination->bytes, &ip.daddr, 16);
		return 1;
	}
	return 0;
}

// Puts the Ethernet header, tag and all, right before the inner packet. The tag stays, as it decides by which VLAN
// device the kernel takes the packet in.
static __always_inline int strip(struct tunnel *tunnel, struct link_header *link)
{
	int tagged = link->ethernet.h_proto == bpf_htons(ETH_P_8021Q);

	link->vlan.ethertype = tunnel->inner_ethertype;
	if (!tagged)
		link->ethernet.h_proto = tunnel->inner_ethertype;
	if (bpf_xdp_adjust_head(tunnel->frame, tunnel->inner - tunnel->outer))
		return XDP_PASS;
	// Cannot fail, as what is left holds the link header and an IP header.
	if (tagged)
		bpf_xdp_store_bytes(tunnel->frame, 0, link, sizeof(*link));
	else
		bpf_xdp_store_bytes(tunnel->frame, 0, &link->ethernet, sizeof(link->ethernet));
	return XDP_PASS;
}

SEC("xdp")
int decap(struct xdp_md *frame)
{
	struct tunnel tunnel = { .frame = frame, .outer = sizeof(struct ethhdr) };
	struct address destination = {};
	struct link_header link;
	__be16 ethertype;
	int found = 0;

	if (!read(&tunnel, 0, &link, sizeof(link)))
		return XDP_PASS;
	ethertype = link.ethernet.h_proto;
	if (ethertype == bpf_htons(ETH_P_8021Q)) {
		ethertype = link.vlan.ethertype;
		tunnel.outer = sizeof(link);
	}

	switch (ethertype) {
	case bpf_htons(ETH_P_IPV6):
		found = outer_ipv6(&tunnel);
		break;
	case bpf_htons(ETH_P_IP):
		found = outer_ipv4(&tunnel);
		break;
	case bpf_htons(ETH_P_MPLS_UC):
		found = mpls(&tunnel, tunnel.outer);
		break;
	}

	if (!found || !inner_destination(&tunnel, &destination))
		return XDP_PASS;
	if (!bpf_map_lookup_elem(&vips, &destination))
		return XDP_PASS;
	return strip(&tunnel, &link);
}

char _license[] SEC("license") = "Dual MIT/GPL";
