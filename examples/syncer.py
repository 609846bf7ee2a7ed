#!/usr/bin/env python3
"""Keeps pointsman's endpoint set what a file says that another program rewrites: lines "SERVICE VIP ENDPOINT ADDRESS".

An endpoint that is no longer in the file drains, and goes once its flows have ended, after SECONDS at the latest.
usage: syncer.py FILE SOCKET [SECONDS]
"""
import json, socket, sys, time

FILE, SOCKET, SECONDS = (sys.argv[1:] + ["900"])[:3]
endpoints, leaving, drained, pause = {}, {}, set(), 1  # all by service and endpoint; leaving: until when at the latest

def ask(node, method, **params):
    print(json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}), file=node, flush=True)
    for message in map(json.loads, node):
        if "result" in message:
            return message["result"]
        if "error" in message:
            raise ValueError(message["error"]["message"])
        event = message["params"]  # what has happened since the last question stands before its answer
        if event["type"] == "drained" and not event["remembered"]:
            drained.add((event["service"], event["endpoint"]))
    raise ConnectionError("pointsman has closed the connection")

def services():
    with open(FILE, encoding="utf-8") as file:
        wanted = {(service, name): (vip, address) for service, vip, name, address in map(str.split, file)}
    endpoints.update(wanted)
    for key in set(endpoints) - set(wanted):
        if time.monotonic() >= leaving.setdefault(key, time.monotonic() + float(SECONDS)) or key in drained:
            del endpoints[key], leaving[key]
    found = {}
    for key, (vip, address) in sorted(endpoints.items()):
        if key in wanted:
            leaving.pop(key, None)
        service = found.setdefault(key[0], {"name": key[0], "vip": vip, "endpoints": []})
        state = "draining" if key in leaving else "active"
        service["endpoints"].append({"name": key[1], "address": address, "state": state})
    drained.clear()
    return list(found.values())

def follow(node, pushed=None):
    global pause
    for method in "hello", "subscribe":
        ask(node, method)
    for service in ask(node, "get")["services"]:  # an earlier run's endpoints have to drain, too
        for known in service["endpoints"]:
            endpoints.setdefault((service["name"], known["name"]), (service["vip"], known["address"]))
    while True:
        if (found := services()) != pushed:
            print(ask(node, "apply", revision=str(time.time()), services=found), flush=True)
            pushed, pause = found, 1
        time.sleep(1)
        ask(node, "hello")

while True:
    try:
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(SOCKET)
            follow(control.makefile("rw"))
    except (OSError, ValueError) as error:
        print(error, file=sys.stderr, flush=True)
    time.sleep(pause)
    pause = min(2 * pause, 30)
