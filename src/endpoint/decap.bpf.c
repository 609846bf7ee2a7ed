// SPDX-License-Identifier: MIT OR Apache-2.0
//
// decap: takes packets for the VIPs out of their tunnel, as they come in by an endpoint's interface.
//
//     Ethernet [802.1Q] outer-IP GRE inner-IP ...  becomes  Ethernet [802.1Q] inner-IP ...
//
// An outer protocol is a case in `outer_ipv4` and `outer_ipv6`, which leave in `struct tunnel` how long the outer
// headers are and what lies inside; a new one (IPIP, GUE, MPLS) is one more case with one more function like `gre`.
// Everything else, malformed or not, passes untouched: it is the kernel's to judge.

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VIPS 4096

#define IPV4_MORE_FRAGMENTS 0x2000
#define IPV4_FRAGMENT_OFFSET 0x1fff

// RFC 2890: a key follows. Any other flag, and any version but 0, is not ours to understand.
#define GRE_KEY 0x2000

struct vlan_header {
	__be16 control;
	__be16 ethertype;
};

struct gre_header {
	__be16 flags;
	__be16 protocol;
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

// Lengths are counted beside the pointers: the verifier lets only CAP_PERFMON subtract one pointer from another.
struct tunnel {
	void *frame;
	void *outer; // behind the Ethernet header and its tag
	void *end;
	__u32 outer_length; // all that is to be taken away
	__be16 inner_ethertype;
};

// A GRE header behind so many bytes of outer IP header.
static __always_inline int gre(struct tunnel *tunnel, __u32 ip_length)
{
	struct gre_header *header = tunnel->outer + ip_length;

	if ((void *)(header + 1) > tunnel->end)
		return 0;
	if (header->flags & ~bpf_htons(GRE_KEY))
		return 0;
	tunnel->inner_ethertype = header->protocol;
	tunnel->outer_length = ip_length + sizeof(*header);
	if (header->flags)
		tunnel->outer_length += sizeof(__be32);
	return 1;
}

static __always_inline int outer_ipv4(struct tunnel *tunnel)
{
	struct iphdr *ip = tunnel->outer;

	if ((void *)(ip + 1) > tunnel->end)
		return 0;
	if (ip->version != 4 || ip->ihl < 5)
		return 0;
	if (ip->frag_off & bpf_htons(IPV4_MORE_FRAGMENTS | IPV4_FRAGMENT_OFFSET))
		return 0;
	switch (ip->protocol) {
	case IPPROTO_GRE:
		return gre(tunnel, ip->ihl * 4);
	default:
		return 0;
	}
}

static __always_inline int outer_ipv6(struct tunnel *tunnel)
{
	struct ipv6hdr *ip = tunnel->outer;

	if ((void *)(ip + 1) > tunnel->end)
		return 0;
	if (ip->version != 6)
		return 0;
	switch (ip->nexthdr) {
	case IPPROTO_GRE:
		return gre(tunnel, sizeof(*ip));
	default:
		return 0;
	}
}

static __always_inline int inner_destination(struct tunnel *tunnel, struct address *destination)
{
	void *inner = tunnel->outer + tunnel->outer_length;

	if (tunnel->inner_ethertype == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = inner;

		if ((void *)(ip + 1) > tunnel->end || ip->version != 4)
			return 0;
		destination->bytes[10] = 0xff;
		destination->bytes[11] = 0xff;
		__builtin_memcpy(&destination->bytes[12], &ip->daddr, 4);
		return 1;
	}
	if (tunnel->inner_ethertype == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = inner;

		if ((void *)(ip + 1) > tunnel->end || ip->version != 6)
			return 0;
		__builtin_memcpy(destination->bytes, &ip->daddr, 16);
		return 1;
	}
	return 0;
}

// Moves the Ethernet header, tag and all, to just before the inner packet. The tag stays, as it decides by which
// VLAN device the kernel takes the packet in.
static __always_inline int strip(struct xdp_md *context, struct tunnel *tunnel, int tagged)
{
	struct ethhdr ethernet;
	struct vlan_header vlan = {};
	void *data = tunnel->frame;

	__builtin_memcpy(&ethernet, data, sizeof(ethernet));
	if (tagged) {
		__builtin_memcpy(&vlan, data + sizeof(ethernet), sizeof(vlan));
		vlan.ethertype = tunnel->inner_ethertype;
	} else {
		ethernet.h_proto = tunnel->inner_ethertype;
	}
	if (bpf_xdp_adjust_head(context, tunnel->outer_length))
		return XDP_PASS;
	data = (void *)(long)context->data;
	if (data + sizeof(ethernet) + sizeof(vlan) > (void *)(long)context->data_end)
		return XDP_DROP;
	__builtin_memcpy(data, &ethernet, sizeof(ethernet));
	if (tagged)
		__builtin_memcpy(data + sizeof(ethernet), &vlan, sizeof(vlan));
	return XDP_PASS;
}

SEC("xdp")
int decap(struct xdp_md *context)
{
	struct ethhdr *ethernet = (void *)(long)context->data;
	struct tunnel tunnel = {
		.frame = ethernet,
		.outer = ethernet + 1,
		.end = (void *)(long)context->data_end,
	};
	struct address destination = {};
	__be16 ethertype;
	int tagged, found;

	if (tunnel.outer + sizeof(struct vlan_header) > tunnel.end)
		return XDP_PASS;
	ethertype = ethernet->h_proto;
	tagged = ethertype == bpf_htons(ETH_P_8021Q);
	if (tagged) {
		ethertype = ((struct vlan_header *)tunnel.outer)->ethertype;
		tunnel.outer += sizeof(struct vlan_header);
	}

	if (ethertype == bpf_htons(ETH_P_IPV6))
		found = outer_ipv6(&tunnel);
	else if (ethertype == bpf_htons(ETH_P_IP))
		found = outer_ipv4(&tunnel);
	else
		found = 0;

	if (!found || !inner_destination(&tunnel, &destination))
		return XDP_PASS;
	if (!bpf_map_lookup_elem(&vips, &destination))
		return XDP_PASS;
	return strip(context, &tunnel, tagged);
}

char _license[] SEC("license") = "Dual MIT/GPL";
