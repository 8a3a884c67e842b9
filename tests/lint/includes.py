#!/usr/bin/env python3
"""Directions of #include: who may know whom.

ARROWS is the architecture as data. A room may include itself, what its row names, and what those
may include in turn; every room may include proto/base and proto/api. The composition roots may
include everything and are included by nobody but each other.
"""

import re
from pathlib import PurePath

from tree import code, files, finish, numbered

ARROWS = {
    "proto/base": [],
    "proto/api": ["proto/json"],
    "proto/json": [],
    "proto/http": ["proto/json"],
    "execd/harden": ["proto/json"],
    "execd/proc": ["execd/harden", "proto/json"],
    "execd/init": ["execd/proc"],
    "execd/stream": ["proto/json"],
    "execd/exec": ["execd/stream", "execd/proc", "execd/events"],
    "execd/code": ["execd/stream", "execd/proc", "execd/events"],
    "execd/sql": ["execd/stream", "execd/proc"],
    "execd/events": ["proto/json"],
    "execd/files": ["execd/stream", "execd/proc"],
    "execd/metrics": ["execd/stream", "execd/proc", "execd/events"],
    "execd/ports": ["execd/events"],
    "execd/isolate": ["execd/exec", "execd/files", "execd/harden"],
    "execd/pty": ["execd/stream", "execd/proc", "execd/events"],
    "execd/gateway": ["execd/code", "execd/pty", "execd/files"],
    # A program is files in a folder, then one or two commands.
    "execd/runcode": ["execd/exec", "execd/files"],
    "execd/worker": ["execd/proc"],
    "execd/api": [
        "execd/exec",
        "execd/code",
        "execd/sql",
        "execd/files",
        "execd/worker",
        "execd/metrics",
        "execd/ports",
        "execd/events",
        "execd/pty",
        "execd/isolate",
        "execd/gateway",
        "execd/runcode",
        "proto/http",
    ],
    "server/model": ["proto/json"],
    "server/client": [],
    "server/store": ["server/model", "server/client"],
    "server/runtime": ["server/model", "server/client"],
    "server/service": ["server/runtime", "server/store", "server/model"],
    "server/enclave": ["server/service"],
    "server/api": ["server/enclave", "server/service", "proto/http"],
}

# Single files that reach further than their room: the file, what it may include beside.
EXTRA = {
    # Sinks turn a channel into HTTP output: the one place where streams meet the transport.
    "execd/stream/sink_sse": ["proto/http"],
    "execd/stream/sink_ws": ["proto/http"],
    # The same for terminals: what a session shows, as WebSocket frames.
    "execd/pty/attach": ["proto/http"],
    "execd/gateway/terminal_ws": ["proto/http"],
    # And for kernels: their messages as frames.
    "execd/gateway/channels_ws": ["proto/http"],
    # A runtime names the address at which the relay reaches a sandbox.
    "server/runtime/runtime.h": ["proto/http/relay.h"],
    # A tool is one request to the sandbox's execd.
    "server/enclave/call.c": ["proto/http/client.h"],
    # A start is over when execd answers its first /ping.
    "server/runtime/native/start.c": ["proto/http/client.h"],
}

FOR_ALL = ["proto/base", "proto/api"]
ROOT_ROOMS = {"execd", "server", "server/cli"}  # main, app, config and command-line verbs

# Foreign headers with one owner.
OWNERS = {
    "zmq.h": ["execd/code/zsock.c"],
    "sqlite3.h": ["server/store/"],
    "curl/curl.h": ["server/client/"],
    "seccomp.h": ["execd/harden/", "server/runtime/native/"],
    "sys/capability.h": ["execd/harden/", "server/runtime/native/"],
    "event2/http.h": [],
    "pwd.h": ["execd/proc/users.c", "server/runtime/native/"],
    "grp.h": ["execd/proc/users.c", "execd/proc/spawn", "execd/isolate/program.c", "server/runtime/native/"],
}

INCLUDE = re.compile(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]')


def room(path):
    parts = PurePath(path).parent.parts
    return "/".join(parts[:2])


def reachable(start):
    """The transitive closure of a room's arrows."""
    seen, todo = set(), [start]
    while todo:
        name = todo.pop()
        if name not in seen:
            seen.add(name)
            todo += ARROWS.get(name, [])
    return seen | set(FOR_ALL)


def extra(path):
    return [target for file, targets in EXTRA.items() if path.startswith(file) for target in targets]


def check_ours(path, target):
    here, there = room(path), room(target)
    if there in ROOT_ROOMS and here not in ROOT_ROOMS:
        return f"{target} belongs to the composition root, which nobody includes"
    if here.split("/")[0] != there.split("/")[0] and "proto" not in (there.split("/")[0],):
        return f"{here} must not know {there}: the two programs share proto/ only"
    if here in ROOT_ROOMS:
        return None
    if here not in ARROWS:
        return f"room {here} has no row in ARROWS"
    if there in reachable(here) or any(target.startswith(prefix) for prefix in extra(path)):
        return None
    return f"{here} may not include {target} (allowed: {', '.join(sorted(reachable(here)))})"


def check_foreign(path, target):
    owners = OWNERS.get(target)
    if owners is None or any(path.startswith(owner) for owner in owners):
        return None
    return f"<{target}> may be included by {' and '.join(owners) or 'nobody'} only"


def main():
    findings, checked = [], 0
    for file in files(".c", ".h", ".cc"):
        path = file.as_posix()
        for line, text in numbered(code(file, keep_strings=True)):
            match = INCLUDE.match(text)
            if not match:
                continue
            checked += 1
            quoted, target = match.group(1) == '"', match.group(2)
            if quoted and target.split("/")[0] not in ("proto", "execd", "server"):
                reason = f'"{target}": write our headers from the repository root, others in <>'
            else:
                reason = check_ours(path, target) if quoted else check_foreign(path, target)
            if reason:
                findings.append(f"{path}:{line}: {reason}")
    finish(findings, f"{checked} includes")


main()
