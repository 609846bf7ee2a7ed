#!/usr/bin/env python3
"""Keeps pointsman's endpoint set what a file says that another program rewrites: lines "SERVICE VIP ENDPOINT ADDRESS".

An endpoint that is no longer in the file drains, and goes once its flows have ended, after SECONDS at the latest.
usage: syncer.py FILE SOCKET [SECONDS]
"""
import json, socket, sys, time

FILE, SOCKET, SECONDS = (sys.argv[1:] + ["900"])[:3]
known, leaving, drained = {}, {}, set()  # all by service and endpoint; leaving: until when at the latest

def ask(node, method, **params):
    print(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}), file=node, flush=True)
    for message in map(json.loads, node):
        if "id" in message:
            if "error" in message:
                raise ValueError(message["error"]["message"])
            return message["result"]
        event = message["params"]  # what has happened since the last question stands before its answer
        if event["type"] == "drained" and not event["remembered"]:
            drained.add((event["service"], event["endpoint"]))
    raise ConnectionError("pointsman has closed the connection")

def services():
    with open(FILE, encoding="utf-8") as file:
        wanted = {(service, name): (vip, address) for service, vip, name, address in map(str.split, file)}
    known.update(wanted)
    for key in set(leaving) & set(wanted):
        del leaving[key]  # it is back
    for key in set(known) - set(wanted):
        if time.monotonic() >= leaving.setdefault(key, time.monotonic() + float(SECONDS)) or key in drained:
            del known[key], leaving[key]
    drained.clear()
    found = {}
    for key, (vip, address) in sorted(known.items()):
        state = "active" if key in wanted else "draining"
        service = found.setdefault(key[0], {"name": key[0], "vip": vip, "endpoints": []})
        service["endpoints"].append({"name": key[1], "address": address, "state": state})
    return list(found.values())

def follow(node, pushed=None):
    ask(node, "subscribe")
    for service in ask(node, "get")["services"]:  # an earlier run's endpoints have to drain, too
        for old in service["endpoints"]:
            known.setdefault((service["name"], old["name"]), (service["vip"], old["address"]))
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
            follow(control.makefile("rw"))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr, flush=True)
    time.sleep(5)
