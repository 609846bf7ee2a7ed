/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The yardstick: the least that an XDP program does to forward by Maglev. VIP, protocol and port are looked up in a hash
 * map, the 5-tuple is hashed (Jenkins), a Maglev table in an array gives the endpoint, GRE over IPv6 goes in front. No
 * fragments, no ICMP, no options or extension headers, no MTU, no counters, no handover.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define TABLE_SIZE 65537
#define SERVICES 6
#define ENDPOINTS 100

struct vip {
	__u32 address[4];
	__u16 port;
	__u8 protocol;
	__u8 family;
};

struct gre {
	__be16 flags;
	__be16 protocol;
};

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 64);
	__type(key, struct vip);
	__type(value, __u32);
} vips SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES * TABLE_SIZE);
	__type(key, __u32);
	__type(value, __u32);
} slots SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SERVICES * ENDPOINTS);
	__type(key, __u32);
	__type(value, struct in6_addr);
} endpoints SEC(".maps");

/* What a run does: all (and shows it), all and takes the headers off again for the next run, or no more than the latter. */
enum { SHOW = 0, REPEAT = 1, BARE = 2, NOTHING = 3 };
const volatile __u32 task = SHOW;

static __always_inline __u32 rotate(__u32 word, int by)
{
	return word << by | word >> (32 - by);
}

#define MIX(a, b, c) \
	a -= c; a ^= rotate(c, 4); c += b; \
	b -= a; b ^= rotate(a, 6); a += c; \
	c -= b; c ^= rotate(b, 8); b += a; \
	a -= c; a ^= rotate(c, 16); c += b; \
	b -= a; b ^= rotate(a, 19); a += c; \
	c -= b; c ^= rotate(b, 4); b += a

#define FINISH(a, b, c) \
	c ^= b; c -= rotate(b, 14); \
	a ^= c; a -= rotate(c, 11); \
	b ^= a; b -= rotate(a, 25); \
	c ^= b; c -= rotate(b, 16); \
	a ^= c; a -= rotate(c, 4); \
	b ^= a; b -= rotate(a, 14); \
	c ^= b; c -= rotate(b, 24)

static __always_inline __u32 hash3(__u32 a, __u32 b, __u32 c, __u32 seed)
{
	a += seed;
	b += seed;
	c += seed;
	FINISH(a, b, c);
	return c;
}

static __always_inline __u32 hash_address(const __u32 *words, __u32 seed)
{
	__u32 a = seed + words[0], b = seed + words[1], c = seed + words[2];

	MIX(a, b, c);
	a += words[3];
	FINISH(a, b, c);
	return c;
}

static __always_inline int take_off(struct xdp_md *frame)
{
	struct ethhdr *ethernet;
	__be16 type;

	ethernet = (void *)(long)frame->data;
	if ((void *)(ethernet + 1) + 44 > (void *)(long)frame->data_end)
		return XDP_ABORTED;
	type = ((struct gre *)((void *)(ethernet + 1) + 40))->protocol;
	if (bpf_xdp_adjust_head(frame, 44))
		return XDP_ABORTED;
	ethernet = (void *)(long)frame->data;
	if ((void *)(ethernet + 1) > (void *)(long)frame->data_end)
		return XDP_ABORTED;
	__builtin_memset(ethernet, 2, 12);
	ethernet->h_proto = type;
	return XDP_TX;
}

static __always_inline int put_on(struct xdp_md *frame, const struct in6_addr *endpoint, __u64 len, __u32 hash,
				  __be16 type)
{
	struct ethhdr *ethernet;
	struct ipv6hdr *outer;
	struct gre *gre;

	if (bpf_xdp_adjust_head(frame, -44))
		return XDP_ABORTED;
	ethernet = (void *)(long)frame->data;
	outer = (void *)(ethernet + 1);
	gre = (void *)(outer + 1);
	if ((void *)(gre + 1) > (void *)(long)frame->data_end)
		return XDP_ABORTED;
	__builtin_memset(ethernet, 2, 12);
	ethernet->h_proto = bpf_htons(ETH_P_IPV6);
	*(__be32 *)outer = bpf_htonl(6 << 28 | (hash & 0xfffff));
	outer->payload_len = bpf_htons((__u16)(len - sizeof(*ethernet) + sizeof(*gre)));
	outer->nexthdr = IPPROTO_GRE;
	outer->hop_limit = 64;
	outer->saddr.in6_u.u6_addr32[0] = bpf_htonl(0x20010db8);
	outer->saddr.in6_u.u6_addr32[1] = 0;
	outer->saddr.in6_u.u6_addr32[2] = 0;
	outer->saddr.in6_u.u6_addr32[3] = hash;
	outer->daddr = *endpoint;
	gre->flags = 0;
	gre->protocol = type;
	return XDP_TX;
}

SEC("xdp")
int yardstick(struct xdp_md *frame)
{
	void *start = (void *)(long)frame->data;
	void *end = (void *)(long)frame->data_end;
	struct ethhdr *ethernet = start;
	struct in6_addr *endpoint;
	__u64 len = end - start;
	struct vip vip = {};
	struct tcphdr *tcp;
	__u32 *service, *slot, hash, at;
	__be16 type;
	int verdict;

	if (task == NOTHING)
		return XDP_TX;
	if (task == BARE) {
		if (bpf_xdp_adjust_head(frame, -44))
			return XDP_ABORTED;
		return bpf_xdp_adjust_head(frame, 44) ? XDP_ABORTED : XDP_TX;
	}
	if ((void *)(ethernet + 1) > end)
		return XDP_PASS;
	type = ethernet->h_proto;
	if (type == bpf_htons(ETH_P_IP)) {
		struct iphdr *ip = (void *)(ethernet + 1);

		if ((void *)(ip + 1) > end || ip->ihl != 5 || ip->frag_off & bpf_htons(0x3fff))
			return XDP_PASS;
		tcp = (void *)(ip + 1);
		vip.address[0] = ip->daddr;
		vip.family = 4;
		vip.protocol = ip->protocol;
		hash = ip->saddr;
	} else if (type == bpf_htons(ETH_P_IPV6)) {
		struct ipv6hdr *ip = (void *)(ethernet + 1);

		if ((void *)(ip + 1) > end)
			return XDP_PASS;
		tcp = (void *)(ip + 1);
		__builtin_memcpy(vip.address, &ip->daddr, 16);
		vip.family = 6;
		vip.protocol = ip->nexthdr;
		hash = hash_address(ip->saddr.in6_u.u6_addr32, 0x51ed270b);
	} else {
		return XDP_PASS;
	}
	if (vip.protocol != IPPROTO_TCP || (void *)(tcp + 1) > end)
		return XDP_PASS;
	vip.port = tcp->dest;
	service = bpf_map_lookup_elem(&vips, &vip);
	if (!service)
		return XDP_PASS;
	hash = hash3(hash, *(__u32 *)tcp, vip.address[0] ^ vip.address[3] ^ vip.protocol, 0x9747b28c);
	at = *service * TABLE_SIZE + hash % TABLE_SIZE;
	slot = bpf_map_lookup_elem(&slots, &at);
	if (!slot)
		return XDP_DROP;
	at = *slot;
	endpoint = bpf_map_lookup_elem(&endpoints, &at);
	if (!endpoint)
		return XDP_DROP;
	verdict = put_on(frame, endpoint, len, hash, type);
	return task == REPEAT && verdict == XDP_TX ? take_off(frame) : verdict;
}

char _license[] SEC("license") = "Dual MIT/GPL";
