"""Sandboxes of the built-in runtime, through the server, beside a process in new namespaces alone."""

import json
import shutil
import tempfile
import time
from pathlib import Path

from agent import measure, ms
from harness.native_server import remove_groups
from harness.server import CREATE, Server, import_image, why_not
from wire import Wire

ROWS = {
    "native: create answered": {},
    "native: create → first /ping 200": {"p50": 15},
    "native: create → first command result": {"p50": 25},
    "native: destroy": {"p50": 30},
}


def sandboxes(table, quick):
    reason = why_not()
    if reason:
        for what in ROWS:
            table.left_out(what, reason)
        return
    state = Path(tempfile.mkdtemp(prefix="execd-bench-"))
    group = state.name  # of its own: another run's sandboxes are not ours to count or remove
    bare, taken = [], {what: [] for what in ROWS}
    try:
        import_image(state)
        with Server(state, group=group, level="info") as server:
            with Wire(("127.0.0.1", server.port), {"OPEN-SANDBOX-API-KEY": server.key}) as wire:
                one_sandbox(wire)  # the image's pages are read once
                for _ in range(5 if quick else 30):
                    bare += measure("clone", 1)[0]
                    for what, value in zip(ROWS, one_sandbox(wire)):
                        taken[what].append(value)
    finally:
        remove_groups(group)
        shutil.rmtree(state, ignore_errors=True)
    for what, goal in ROWS.items():
        table.add(what, taken[what], "ms", goal=goal, floor=ms(bare),
                  note="through the server's proxy; floor: clone3 into the same namespaces, to the end of that process"
                  if goal == {"p50": 15} else "")


def one_sandbox(wire):
    """Milliseconds: create answered, first ping, first command (all from the request on), destroy."""
    begin = time.monotonic_ns()
    ident = json.loads(wire.ask("POST", "/v1/sandboxes", CREATE, wanted=(202,)))["id"]
    made = time.monotonic_ns()
    execd = f"/v1/sandboxes/{ident}/proxy/44772"  # the server's key opens what is behind its proxy
    wire.ask("GET", f"{execd}/ping")
    ready = time.monotonic_ns()
    text = wire.ask("POST", f"{execd}/command", {"command": "true"})
    ran = time.monotonic_ns()
    if b"execution_complete" not in text:
        raise RuntimeError(f"the first command did not complete: {text.decode(errors='replace')}")
    leave = time.monotonic_ns()
    wire.ask("DELETE", f"/v1/sandboxes/{ident}", wanted=(204,))
    return ms([made - begin, ready - begin, ran - begin, time.monotonic_ns() - leave])
