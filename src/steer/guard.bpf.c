/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The guard, for a daemon that reads its frames from an AF_PACKET tap: the tap has seen a frame before tc ingress
 * does, so frames for a VIP end here, and the kernel never answers for a VIP beside the daemon or in its place.
 */
#include "vips.h"

#include <linux/pkt_cls.h>

/* As much as is_for_vip() reads: Ethernet, a tag, IPv6, the first of ICMPv6. */
#define HEADERS (sizeof(struct ethhdr) + sizeof(struct vlan_tag) + sizeof(struct ipv6hdr) + sizeof(struct icmp6hdr))

SEC("classifier")
int pointsman_guard(struct __sk_buff *frame)
{
	__u32 wanted = frame->len < HEADERS ? frame->len : HEADERS;

	/* Headers may sit in a fragment of the buffer, out of sight of direct access; without memory to pull them
	 * there, better one frame lost than one VIP answered. Asked always, since comparing the two ends first would
	 * take CAP_PERFMON, and the kernel does it anyway. */
	if (bpf_skb_pull_data(frame, wanted))
		return TC_ACT_SHOT;
	if (is_for_vip((void *)(long)frame->data, (void *)(long)frame->data_end))
		return TC_ACT_SHOT;
	return TC_ACT_UNSPEC;
}

char _license[] SEC("license") = "Dual MIT/GPL";
