"""Many at once: commands, viewers of one stream, files to search."""

import json
import os
import selectors
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from harness.execd import TOKEN, TOKEN_HEADER, rss_kib
from agent import Growth
from wire import Wire

AT_ONCE = 100
END = b"\r\n0\r\n\r\n"


def at_once(connections, deadline_s=60):
    """Reads all connections until each has its last chunk; what each got."""
    selector, texts = selectors.DefaultSelector(), [bytearray() for _ in connections]
    for number, wire in enumerate(connections):
        selector.register(wire.socket, selectors.EVENT_READ, number)
    left, deadline = len(connections), time.monotonic() + deadline_s
    while left:
        for key, _ in selector.select(1):
            texts[key.data] += connections[key.data].receive()
            if texts[key.data].endswith(END):
                selector.unregister(key.fileobj)
                left -= 1
        if time.monotonic() > deadline:
            raise RuntimeError(f"{left} of {len(connections)} streams have not ended in {deadline_s} s")
    selector.close()
    return texts


def commands(table, agent, quick):
    bare, ours = [], []
    wires = [Wire(agent.socket, {TOKEN_HEADER: TOKEN}) for _ in range(AT_ONCE)]
    for _ in range(2 if quick else 5):
        begin = time.perf_counter()
        for child in [subprocess.Popen(["sh", "-c", "true"]) for _ in range(AT_ONCE)]:
            child.wait()
        bare.append((time.perf_counter() - begin) * 1000)
        begin = time.perf_counter()
        for wire in wires:
            wire.send("POST", "/command", {"command": "exit 3"})
        texts = at_once(wires)
        ours.append((time.perf_counter() - begin) * 1000)
        if not all(b'"evalue":"3"' in text for text in texts):
            raise RuntimeError("an exit code is missing")
    for wire in wires:
        wire.socket.close()
    table.add(f"{AT_ONCE} commands at once, all ended", ours, "ms", floor=bare,
              note="every exit code right; floor: as many posix_spawn of the same shell, then wait")


def streams(table, agent, quick):
    """Viewers of one background command that prints a line ten times a second."""
    viewers, lines = 400 if quick else 4000, 20 if quick else 50
    with Wire(agent.socket, {TOKEN_HEADER: TOKEN}) as wire:
        script = f"sleep 1; for i in $(seq 1 {lines}); do echo line $i; sleep 0.1; done"
        text = wire.ask("POST", "/command", {"command": script, "background": True})
    ident = json.loads(text[text.index(b"{"):].split(b"\n")[0])["text"]
    before, wires = rss_kib(agent.pid), []
    for _ in range(viewers):
        wires.append(Wire(("127.0.0.1", agent.port), {TOKEN_HEADER: TOKEN}))
        wires[-1].send("GET", f"/command/{ident}/stream")
    texts = at_once(wires, 120)
    kib = (rss_kib(agent.pid) - before) / viewers
    for wire in wires:
        wire.socket.close()
    for text in texts:
        if any(b"line %d\\n" % i not in text for i in (1, lines)) or text.count(b'"stdout"') != lines:
            raise RuntimeError(f"a viewer lost a line: {text.count(b'stdout')} of {lines}")
    table.add(f"{viewers} streams of one command", [kib], "KiB", goal={"p50": 32},
              note=f"resident memory for each; {lines} lines each, none lost")


def search(table, agent, quick):
    """Names to search, in memory, so that the disk is not what is measured."""
    count = 100_000 if quick else 1_000_000
    folder = Path(tempfile.mkdtemp(prefix="execd-bench-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    try:
        for group in range(count // 1000):
            (folder / f"{group}").mkdir()
            for name in range(1000):
                os.close(os.open(folder / f"{group}/{name}.{'py' if name == 7 else 'txt'}", os.O_CREAT | os.O_WRONLY))
        bare, ours, growth = [], [], Growth(agent.pid)
        with Wire(agent.socket, {TOKEN_HEADER: TOKEN}) as wire:
            for _ in range(2 if quick else 3):
                begin = time.perf_counter()
                found = subprocess.run(["find", folder, "-name", "*.py"], capture_output=True).stdout.count(b"\n")
                bare.append(time.perf_counter() - begin)
                begin = time.perf_counter()
                text = wire.ask("GET", f"/files/search?path={folder}&pattern=*.py")
                ours.append(time.perf_counter() - begin)
                if found != count // 1000 or text.count(b'"path"') != found:
                    raise RuntimeError(f"found {text.count(b'path')} of {found}")
        table.add(f"search among {count} files", ours, "s", floor=bare, note="names of one in a thousand; floor: find -name")
        table.add("peak RSS growth by that", [growth.mb()], "MB", goal={"p50": 4})
    finally:
        shutil.rmtree(folder, ignore_errors=True)
