"""The table of cases: each verdict has a function that adds one."""

import tomllib

from encapsulation import encapsulated, endpoint_of, hash_of, overhead, parts_of
from frames import HERE, MAC, ROUTER_MAC, ether, flow_of

CASES = []
ORDER = ["description", "config", "after", "times", "in", "verdict", "reason", "service", "endpoint", "out"]


def settings(config):
    return tomllib.loads((HERE / config).read_text())


def case(description, frame, verdict, config="config.toml", **more):
    """`more` may hold `after` and `times`, in every kind of case."""
    entry = {"description": description, "in": frame.hex(), "verdict": verdict, **more}
    if config != "config.toml":
        entry["config"] = config
    assert set(entry) <= set(ORDER), entry
    CASES.append({key: entry[key] for key in ORDER if key in entry})


def forwarded(
    description,
    inner,
    service,
    flow=None,
    client=None,
    vlan=None,
    padding=b"",
    config="config.toml",
    parts=None,
    **more
):
    """Goes to the service's endpoint, by the flow `flow` (else the packet's own) from `client` (else its source).

    `parts`: the packets that leave instead of the one that came.
    """
    node = settings(config)
    flow = flow or flow_of(inner)
    hash_ = hash_of(service, client or inner.src, inner.dst, flow, bytes.fromhex(node["hash"]["seed"]))
    packets = [bytes(inner)] if parts is None else parts
    out = [encapsulated(packet, service, hash_, node["underlay"], vlan).hex() for packet in packets]
    endpoint = endpoint_of(service)["name"]
    out = out[0] if parts is None else out
    case(
        description,
        ether(inner, vlan) + padding,
        "forwarded",
        config,
        service=service,
        endpoint=endpoint,
        out=out,
        **more,
    )


def in_parts(description, inner, service, mtu=1500, **more):
    """Forwarded in at least two parts that fit."""
    room = mtu - overhead(service)
    parts = parts_of(bytes(inner), room)
    assert len(parts) > 1 and all(len(part) <= room for part in parts)
    forwarded(description, inner, service, parts=parts, **more)


def answered(description, question, answer, vlan=None, padding=b"", to_station=MAC, **more):
    """Answered from the interface's own address, whatever station the question was for."""
    out = ether(answer, vlan, src=MAC, dst=ROUTER_MAC)
    case(description, ether(question, vlan, dst=to_station) + padding, "answered", endpoint=None, out=out.hex(), **more)


def dropped(description, frame, reason, **more):
    frame = frame if isinstance(frame, bytes) else ether(frame)
    case(description, frame, "dropped", reason=reason, **more)


def no_service(description, packet, **more):
    dropped(description, packet, "no_service", service=None, endpoint=None, **more)


def passed(description, frame, **more):
    frame = frame if isinstance(frame, bytes) else ether(frame)
    case(description, frame, "passed", service=None, endpoint=None, **more)
