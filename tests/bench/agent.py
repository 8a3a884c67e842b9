"""execd by itself: size, start, commands, streams, files, request rates."""

import hashlib
import json
import os
import re
import subprocess
import time
from pathlib import Path

from harness.execd import BUILD, EXECD, TOKEN, TOKEN_HEADER, rss_kib, status_field
from wire import Wire

MEASURE = BUILD / "bench" / "measure"


def build_measure(sources):
    subprocess.run([os.environ.get("CC", "gcc"), "-O2", "-Wall", "-Werror", "-D_GNU_SOURCE", "-o", MEASURE,
                    *sorted(sources.glob("*.c"))], check=True)


def measure(*words):
    """Columns of numbers: with two, the floor's come first."""
    ended = subprocess.run([str(MEASURE), *map(str, words)], capture_output=True, text=True, timeout=120)
    if ended.returncode != 0:
        raise RuntimeError(f"measure {words[0]}: {ended.stderr.strip()}")
    return [list(column) for column in zip(*([float(n) for n in line.split()] for line in ended.stdout.splitlines()))]


def ms(values):
    return [value / 1e6 for value in values]


class Growth:
    """By how much a process grew at its worst; the peak is reset where the kernel allows it."""

    def __init__(self, pid):
        self.pid = pid
        self.before = rss_kib(pid)
        try:
            Path(f"/proc/{pid}/clear_refs").write_text("5")
        except OSError:
            pass

    def mb(self):
        return max(0, int(status_field(self.pid, "VmHWM").split()[0]) - self.before) / 1024


def process(table, folder, quick):
    table.add("execd, stripped", [EXECD.stat().st_size / 1e6], "MB", goal={"p50": 2.6})
    bare, ours = measure("start", 15 if quick else 60, EXECD, folder / "start.sock")
    table.add("exec → first /ping 200", ms(ours), "ms", floor=ms(bare), goal={"p50": 5},
              note="floor: posix_spawn+wait of a small program that does nothing")


def commands(table, agent, quick):
    table.add("execd, idle RSS", [rss_kib(agent.pid) / 1024], "MB", goal={"p50": 3})
    n = 150 if quick else 1000
    bare, ours = measure("command", n, agent.socket, TOKEN)
    table.add("POST /command true, keep-alive", ms(ours), "ms", floor=ms(bare), goal={"ratio": 1.5, "p99": 5},
              note=f"floor: posix_spawn+wait of the same shell; its p99 {sorted(bare)[int(n * 0.99)] / 1e6:.2f} ms")
    bare, ours = measure("first", n, agent.socket, TOKEN)
    table.add("first stdout byte after its write", ms(ours), "ms", floor=ms(bare), goal={"p99": 1},
              note=f"floor: the same child's write into a bare pipe; its p99 {sorted(bare)[int(n * 0.99)] / 1e6:.3f} ms")


def write_lines(path, size):
    """Text that does not repeat, in lines of 76 characters; the SHA-256 of it."""
    digest = hashlib.sha256()
    with open(path, "wb") as file:
        while file.tell() < size:
            digits = os.urandom(1 << 19).hex().encode()
            block = b"".join(digits[i:i + 76] + b"\n" for i in range(0, len(digits), 76))
            file.write(block)
            digest.update(block)
    return digest.hexdigest()


CHUNK = re.compile(rb"([0-9a-fA-F]+)\r\n")


def digest_of(kept):
    """The SHA-256 of stdout as a client puts it together again: chunks, then events, then their text."""
    raw = kept.read_bytes()
    at, parts = raw.index(b"\r\n\r\n") + 4, []
    while size := CHUNK.match(raw, at):
        begin = size.end()
        at = begin + int(size[1], 16) + 2
        parts.append(raw[begin:at - 2])
    digest, events = hashlib.sha256(), 0
    for block in b"".join(parts).split(b"\n\n"):
        event = json.loads(block) if block else {}
        if event.get("type") == "stdout":
            digest.update(event["text"].encode())
            events += 1
    return digest.hexdigest(), events


KEPT_MB = 1
FLAT_MB = 4  # "flat": what a stream may hold in buffers


def slow_reader(agent, source):
    growth = Growth(agent.pid)
    with Wire(agent.socket, {TOKEN_HEADER: TOKEN}) as wire:
        wire.send("POST", "/command", {"command": f"cat {source}"})
        end, received = time.monotonic() + 2, 0
        while time.monotonic() < end:
            received += len(wire.socket.recv(100_000))
            time.sleep(0.005)
    if received < 1_000_000:
        raise RuntimeError(f"a slow reader got {received} bytes in 2 s")
    return growth.mb()


def streams(table, agent, folder, quick):
    size = (64 if quick else 256) << 20
    source, kept = folder / "flood", folder / "kept"
    expected = write_lines(source, size)
    mb, growth, bare, ours = source.stat().st_size / 1e6, Growth(agent.pid), [], []
    for _ in range(3 if quick else 5):
        (one,), (other,) = measure("flood", agent.socket, TOKEN, source, kept)
        bare.append(mb / (one / 1e9)), ours.append(mb / (other / 1e9))
        found, events = digest_of(kept)
        if found != expected:
            raise RuntimeError(f"the flood's SHA-256 is {found}, not {expected}")
    table.add("stdout through JSON events", ours, "MB/s", floor=bare, goal={"p50": 150}, more=True,
              note=f"{mb:.0f} MB in lines of 76 characters, SHA-256 exact each time, {events} events; floor: cat through a pipe")
    table.add("peak RSS growth by that", [max(0, growth.mb() - KEPT_MB * len(ours))], "MB", goal={"p50": FLAT_MB},
              note=f"beyond the {KEPT_MB} MB that are kept of each run for clients that come back")
    table.add("peak RSS growth by a slow reader", [slow_reader(agent, source)], "MB", goal={"p50": FLAT_MB},
              note="the same flood, read at about 20 MB/s for 2 s and then left")
    source.unlink(), kept.unlink()


def files(table, agent, folder, quick):
    size = (64 if quick else 256) << 20
    source, target, copy = folder / "source", folder / "target", folder / "copy"
    write_lines(source, size)
    growth, mb = Growth(agent.pid), source.stat().st_size / 1e6
    up, down = ([], []), ([], [])
    for _ in range(3 if quick else 5):
        for pair, words in ((up, ("upload", agent.socket, TOKEN, source, target, copy, f" && sync {copy}")),
                            (down, ("download", agent.socket, TOKEN, source, copy))):
            for kept, (value,) in zip(pair, measure(*words)):
                kept.append(mb / (value / 1e9))
        for path in (target, copy):
            if subprocess.run(["cmp", source, path]).returncode != 0:
                raise RuntimeError(f"{path.name} differs from what was sent")
            path.unlink()
    table.add("upload, on the disk when answered", up[1], "MB/s", floor=up[0], goal={"ratio": 0.8}, more=True,
              note=f"{mb:.0f} MB multipart; floor: cat to the same disk and fsync")
    table.add("download", down[1], "MB/s", floor=down[0], goal={"ratio": 0.8}, more=True,
              note="received and written to the same disk; floor: cat to the same disk")
    table.add("peak RSS growth by both", [growth.mb()], "MB", goal={"p50": 4})
    source.unlink()


def rates(table, agent, quick):
    for path in ("/ping", "/metrics"):
        bare, ours = measure("rate", 3 if quick else 8, 300 if quick else 500, agent.port, TOKEN, path)
        table.add(f"GET {path}, 16 connections", ours, "req/s", floor=bare, goal={"p50": 20000}, more=True,
                  note="client on the same cores; floor: a bare epoll loop that answers with the same bytes")
