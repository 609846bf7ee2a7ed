"""The flow hash, by its definition: SipHash-1-3 over addresses, ports and protocol; and what headers take from it."""

import ipaddress
import os
import subprocess
import sys

WITH_PORTS = {6, 17, 33, 132, 136}


def siphash13(key, data):
    """SipHash-1-3 (Aumasson and Bernstein), 64 bits."""
    mask = (1 << 64) - 1
    k0, k1 = (int.from_bytes(key[at : at + 8], "little") for at in (0, 8))
    v0, v1, v2, v3 = (
        k0 ^ 0x736F6D6570736575,
        k1 ^ 0x646F72616E646F6D,
        k0 ^ 0x6C7967656E657261,
        k1 ^ 0x7465646279746573,
    )

    def rotate(x, bits):
        return ((x << bits) | (x >> (64 - bits))) & mask

    def round_():
        nonlocal v0, v1, v2, v3
        v0 = (v0 + v1) & mask
        v1 = rotate(v1, 13) ^ v0
        v0 = rotate(v0, 32)
        v2 = (v2 + v3) & mask
        v3 = rotate(v3, 16) ^ v2
        v0 = (v0 + v3) & mask
        v3 = rotate(v3, 21) ^ v0
        v2 = (v2 + v1) & mask
        v1 = rotate(v1, 17) ^ v2
        v2 = rotate(v2, 32)

    whole = len(data) // 8 * 8
    words = [int.from_bytes(data[at : at + 8], "little") for at in range(0, whole, 8)]
    words.append(int.from_bytes(data[whole:], "little") | (len(data) & 0xFF) << 56)
    for word in words:
        v3 ^= word
        round_()
        v0 ^= word
    v2 ^= 0xFF
    for _ in range(3):
        round_()
    return v0 ^ v1 ^ v2 ^ v3


def check_siphash():
    """CPython hashes bytes by SipHash-1-3, with a key drawn from PYTHONHASHSEED by a small generator."""
    assert sys.hash_info.algorithm == "siphash13", "needs a CPython of 3.11 or later"
    for seed in (0, 1, 4242):
        key, state = bytearray(), seed
        for _ in range(16):
            state = (state * 214013 + 2531011) & 0xFFFFFFFF
            key.append(state >> 16 & 0xFF)
        key = bytes(16) if seed == 0 else bytes(key)
        for length in (1, 7, 8, 38, 64):
            data = bytes(range(length))
            command = [sys.executable, "-c", f"print(hash({data!r}) & (1 << 64) - 1)"]
            theirs = subprocess.check_output(command, env={**os.environ, "PYTHONHASHSEED": str(seed)})
            assert int(theirs) == siphash13(key, data), (seed, length)


def flow_hash(seed, client, vip, flow, affinity):
    """64 bits. `flow` is protocol, client's port, VIP's port; the ports of a protocol without ports are 0."""

    def sixteen(address):
        address = ipaddress.ip_address(address)
        return address.packed if address.version == 6 else bytes(10) + b"\xff\xff" + address.packed

    protocol, sport, dport = flow if affinity == "flow" else (0, 0, 0)
    assert protocol in WITH_PORTS or (sport, dport) == (0, 0)
    data = (
        sixteen(client)
        + sixteen(vip)
        + sport.to_bytes(2, "big")
        + dport.to_bytes(2, "big")
        + bytes([protocol, 0 if affinity == "flow" else 1])
    )
    assert len(data) == 38
    return siphash13(seed, data)


def flow_label(hash_):
    """The low 20 bits, or 1 where those are 0."""
    return hash_ & 0xFFFFF or 1


def gue_source_port(hash_):
    """One of the 16384 dynamic ports (RFC 6335)."""
    return 49152 + (hash_ >> 16 & 0x3FFF)


def outer_source(source, hash_):
    """The outer source of a flow: the address, or of a prefix the address whose host bits are the hash's low bits.

    Never the prefix's first address, which is the subnet's own (any-cast) address; nor IPv4's directed broadcast.
    """
    if "/" not in source:
        return source
    prefix = ipaddress.ip_network(source)
    bits = prefix.max_prefixlen - prefix.prefixlen
    ones = (1 << bits) - 1
    host = hash_ & ones or 1
    if prefix.version == 4 and bits >= 2 and host == ones:
        host -= 1
    return str(prefix[host])
