/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * Both ends of the bench's traffic, and the reflectors' way to their socket. `generate` runs over frames that the kernel
 * makes (BPF_PROG_TEST_RUN with live frames) and sends those that are due; `sink` counts and drops what comes back.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/udp.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Source ports of the flows that frames belong to: so many, from this one. A power of two. */
#define FLOWS 4096
#define FIRST_PORT 16384

/* Lateness that is made up for, in nanoseconds. What is later is skipped: made up for, it would come as a flood. */
#define PATIENCE 50000

struct pace {
	/* The interface that frames leave by. */
	__u64 interface;
	/* Frames that leave together. */
	__u64 burst;
	/* Between two such, in nanoseconds times 1,024. */
	__u64 interval;
	/* When the next are due, in the same unit, since `start`. */
	__u64 due;
	/* By the monotonic clock, in nanoseconds; 0 before the first. */
	__u64 start;
	/* Frames of this burst that have not left. */
	__u64 left;
	/* Frames that have. */
	__u64 sent;
	/* When the latest burst began to leave; as `due`. */
	__u64 latest;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct pace);
} pace SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} returned SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Whether a burst is due; then the next one is put off. */
static __always_inline int is_due(struct pace *pace)
{
	__u64 now = bpf_ktime_get_ns();

	if (!pace->start)
		pace->start = now;
	now = (now - pace->start) << 10;
	if (now < pace->due)
		return 0;
	if (now - pace->due > (__u64)PATIENCE << 10)
		pace->due = now;
	pace->latest = now;
	pace->due += pace->interval;
	pace->left = pace->burst;
	return 1;
}

SEC("xdp")
int generate(struct xdp_md *packet)
{
	void *data = (void *)(long)packet->data, *end = (void *)(long)packet->data_end;
	struct udphdr *udp = data + sizeof(struct ethhdr) + sizeof(struct iphdr);
	struct pace *own;
	__u32 first = 0;

	own = bpf_map_lookup_elem(&pace, &first);
	if (!own || (void *)(udp + 1) > end)
		return XDP_DROP;
	if (!own->left && !is_due(own))
		return XDP_DROP;
	own->left--;
	/* There is no checksum to mend: with IPv4, UDP may do without. */
	udp->source = bpf_htons(FIRST_PORT + (own->sent & (FLOWS - 1)));
	own->sent++;
	return bpf_redirect(own->interface, 0);
}

SEC("xdp")
int sink(struct xdp_md *packet)
{
	void *data = (void *)(long)packet->data, *end = (void *)(long)packet->data_end;
	struct ethhdr *link = data;
	struct ipv6hdr *outer = (void *)(link + 1);
	struct iphdr *reflected = (void *)(link + 1);
	__u32 first = 0;
	__u64 *count;

	if ((void *)(outer + 1) > end)
		return XDP_DROP;
	/* The node's own words, such as neighbour discovery, are not what was sent. */
	if (!(link->h_proto == bpf_htons(ETH_P_IPV6) && outer->nexthdr == IPPROTO_GRE) &&
	    !(link->h_proto == bpf_htons(ETH_P_IP) && reflected->protocol == IPPROTO_UDP))
		return XDP_DROP;
	count = bpf_map_lookup_elem(&returned, &first);
	if (count)
		++*count;
	return XDP_DROP;
}

SEC("xdp")
int to_socket(struct xdp_md *packet)
{
	return bpf_redirect_map(&sockets, packet->rx_queue_index, XDP_PASS);
}
