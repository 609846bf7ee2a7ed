/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Which frames are for a VIP. One answer for both programs: the steering program (XDP), which hands those frames to
 * the workers, and the guard (tc), which keeps them from the kernel.
 *
 * Each program that includes this has maps of its own, pinned by name in the directory that the loader chooses.
 */
#pragma once

#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/icmpv6.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define MAX_VIPS 65536
#define MAX_PREFIXES 16384

/* RFC 4861: router and neighbour solicitation, advertisement and redirect, never forwarded by a router. */
#define ND_FIRST 133
#define ND_LAST 137
#define ND_HOP_LIMIT 255

/* In network byte order; IPv4 as ::ffff:a.b.c.d. */
struct address {
	__u8 bytes[16];
};

/* `bits` in host byte order; an IPv4 prefix counts the 96 bits before it too. */
struct prefix {
	__u32 bits;
	struct address address;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, MAX_VIPS);
	__type(key, struct address);
	__type(value, __u8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, MAX_PREFIXES);
	__type(key, struct prefix);
	__type(value, __u8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} prefixes SEC(".maps");

struct vlan_tag {
	__be16 control;
	__be16 ethertype;
};

static __always_inline int is_vip(const struct prefix *destination)
{
	return bpf_map_lookup_elem(&vips, &destination->address) || bpf_map_lookup_elem(&prefixes, destination);
}

static __always_inline int ipv4_is_for_vip(void *header, void *end)
{
	struct iphdr *ip = header;
	struct prefix destination = { .bits = 128 };

	if ((void *)(ip + 1) > end)
		return 0;
	destination.address.bytes[10] = 0xff;
	destination.address.bytes[11] = 0xff;
	__builtin_memcpy(&destination.address.bytes[12], &ip->daddr, sizeof(ip->daddr));
	return is_vip(&destination);
}

/* A VIP may be an address of the link itself: then its neighbours must find it. */
static __always_inline int is_neighbour_discovery(struct ipv6hdr *ip, void *end)
{
	struct icmp6hdr *icmp = (void *)(ip + 1);

	if (ip->nexthdr != IPPROTO_ICMPV6 || ip->hop_limit != ND_HOP_LIMIT)
		return 0;
	if ((void *)(icmp + 1) > end)
		return 0;
	return icmp->icmp6_type >= ND_FIRST && icmp->icmp6_type <= ND_LAST;
}

/* An IPv4 address in IPv6 form is no VIP, though the maps hold IPv4 VIPs by these bytes. */
static __always_inline int is_mapped(struct ipv6hdr *ip)
{
	__be32 *words = ip->daddr.in6_u.u6_addr32;

	return !words[0] && !words[1] && words[2] == bpf_htonl(0xffff);
}

static __always_inline int ipv6_is_for_vip(void *header, void *end)
{
	struct ipv6hdr *ip = header;
	struct prefix destination = { .bits = 128 };

	if ((void *)(ip + 1) > end)
		return 0;
	__builtin_memcpy(&destination.address, &ip->daddr, sizeof(destination.address));
	return !is_mapped(ip) && is_vip(&destination) && !is_neighbour_discovery(ip, end);
}

/* Ethernet, at most one 802.1Q tag, then IPv4 or IPv6. Whatever does not parse is the kernel's. */
static __always_inline int is_for_vip(void *start, void *end)
{
	struct ethhdr *ethernet = start;
	void *header = ethernet + 1;
	__be16 ethertype;

	if (header > end)
		return 0;
	ethertype = ethernet->h_proto;
	if (ethertype == bpf_htons(ETH_P_8021Q)) {
		struct vlan_tag *tag = header;

		header = tag + 1;
		if (header > end)
			return 0;
		ethertype = tag->ethertype;
	}
	if (ethertype == bpf_htons(ETH_P_IP))
		return ipv4_is_for_vip(header, end);
	if (ethertype == bpf_htons(ETH_P_IPV6))
		return ipv6_is_for_vip(header, end);
	return 0;
}
