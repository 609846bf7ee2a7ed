#!/usr/bin/env python3
"""Keeps pointsman's endpoint set what a file says that another program rewrites: lines "SERVICE VIP ENDPOINT ADDRESS".

An endpoint that is no longer in the file drains, and goes once its flows have ended, after SECONDS at the latest.
usage: syncer.py FILE SOCKET [SECONDS]
"""
import json, socket, sys, time

FILE, SOCKET, SECONDS = sys.argv[1], sys.argv[2], float((sys.argv + [900])[3])
known, drained = {}, set()  # both by service and endpoint; of what is known also until when it may stay without being wanted

def ask(node, method, **params):
    control, lines = node  # apart: a Python file that is written to forgets what it has read ahead
    control.sendall(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).encode() + b"\n")
    for message in map(json.loads, lines):
        if "error" in message:
            raise ValueError(message["error"]["message"])
        if "result" in message:
            return message["result"]
        event = message["params"]  # what has happened since the last question stands before its answer
        if event["type"] == "drained" and not event["remembered"]:
            drained.add((event["service"], event["endpoint"]))
    raise ConnectionError("pointsman has closed the connection")

def services():
    found, until = {}, time.monotonic() + SECONDS
    with open(FILE, encoding="utf-8") as file:
        wanted = {(service, name): (vip, address, until) for service, vip, name, address in map(str.split, file)}
    known.update(wanted)
    for key, (vip, address, last) in sorted(known.items()):
        if key not in wanted and (key in drained or time.monotonic() >= last):
            del known[key]
            continue
        service = found.setdefault(key[0], {"name": key[0], "vip": vip, "endpoints": []})
        state = "active" if key in wanted else "draining"
        service["endpoints"].append({"name": key[1], "address": address, "state": state})
    drained.clear()
    return list(found.values())

def follow(node, pushed=None):
    ask(node, "subscribe")
    for service in ask(node, "get")["services"]:  # an earlier run's endpoints have to drain, too
        for old in service["endpoints"]:
            last = time.monotonic() + SECONDS
            known.setdefault((service["name"], old["name"]), (service["vip"], old["address"], last))
    while True:
        if (found := services()) != pushed:
            print(ask(node, "apply", revision=str(time.time()), services=found), flush=True)
            pushed = found
        time.sleep(1)
        ask(node, "hello")

while True:
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(SOCKET)
            follow((control, control.makefile()))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr, flush=True)
    time.sleep(5)
