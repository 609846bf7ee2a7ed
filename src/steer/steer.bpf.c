/* SPDX-License-Identifier: MIT OR Apache-2.0 */
/*
 * The steering program: frames for a VIP go to the AF_XDP socket of the queue they came in by, all others to the
 * kernel. Without a socket (the daemon is dead or not ready) frames for a VIP are dropped: the kernel must never
 * answer for a VIP, least of all with a reset.
 */
#include "vips.h"

#define MAX_QUEUES 256

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, MAX_QUEUES);
	__type(key, __u32);
	__type(value, __u32);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
} xsks SEC(".maps");

SEC("xdp")
int pointsman_steer(struct xdp_md *frame)
{
	void *start = (void *)(long)frame->data;
	void *end = (void *)(long)frame->data_end;

	if (!is_for_vip(start, end))
		return XDP_PASS;
	return bpf_redirect_map(&xsks, frame->rx_queue_index, XDP_DROP);
}

char _license[] SEC("license") = "Dual MIT/GPL";
