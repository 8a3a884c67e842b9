"""Terminals: how fast a key comes back, how fast output flows, what a thousand of them cost."""

import os
import pty
import resource
import subprocess
import time

from harness.execd import TOKEN, TOKEN_HEADER, eventually, fds, rss_kib
from harness.ws import BINARY, WebSocket
from wire import Wire

ECHO = "stty raw -echo; printf R; exec cat"


class Client(WebSocket):
    """A session with a client, up to its first output."""

    def __init__(self, agent, wire, command, query=""):
        self.session = wire.ask("POST", "/pty", {"command": command}, (201,)).split(b'"')[3].decode()
        super().__init__(agent.connect(), f"/pty/{self.session}/ws{query}", (f"{TOKEN_HEADER}: {TOKEN}",), 30)

    def output(self):
        while True:
            got = self.read()
            if got.opcode == BINARY and got.payload[0] == 1:
                return got.payload[1:]

    def key(self):
        begin = time.perf_counter_ns()
        self.send(BINARY, b"\0k")
        if self.output() != b"k":
            raise RuntimeError("another key came back")
        return (time.perf_counter_ns() - begin) / 1e6


class Bare:
    """The same program on a terminal of our own."""

    def __init__(self):
        self.master, slave = pty.openpty()
        self.child = subprocess.Popen(["sh", "-c", ECHO], stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
        os.close(slave)
        if os.read(self.master, 1) != b"R":
            raise RuntimeError("the bare terminal is not ready")

    def key(self):
        begin = time.perf_counter_ns()
        os.write(self.master, b"k")
        os.read(self.master, 1)
        return (time.perf_counter_ns() - begin) / 1e6

    def end(self):
        self.child.kill()
        self.child.wait()
        os.close(self.master)


def keys(table, agent, wire, n):
    client, bare, ours, floor = Client(agent, wire, ECHO), Bare(), [], []
    client.output()
    for _ in range(n):
        floor.append(bare.key()), ours.append(client.key())
    table.add("a key to a terminal and back", ours, "ms", floor=floor, goal={"p99": 5},
              note="WebSocket frames by Python; floor: the same program on a terminal of the client's own")
    bare.end(), client.drop()
    wire.ask("DELETE", f"/pty/{client.session}")


def throughput(table, agent, wire, mb):
    rates = []
    for _ in range(3):
        client = Client(agent, wire, f"head -c {mb * 1000000} /dev/zero", "?pty=0")
        begin, received = time.perf_counter(), 0
        while received < mb * 1000000:
            received += len(client.output())
        rates.append(mb / (time.perf_counter() - begin))
        client.drop()
        wire.ask("DELETE", f"/pty/{client.session}")
    table.add("output through a WebSocket", rates, "MB/s", more=True, note="pipe mode, nothing lost; read by Python")


def many(table, agent, wire, n):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, n + 256)), hard))
    before, clients, starts = rss_kib(agent.pid), [], []
    descriptors = len(fds(agent.pid))
    for _ in range(n):
        begin = time.perf_counter_ns()
        clients.append(Client(agent, wire, "echo ready; exec sleep 1000"))
        clients[-1].output()
        starts.append((time.perf_counter_ns() - begin) / 1e6)
    table.add(f"{n} open terminals: POST → first output", starts, "ms")
    table.add("memory of execd for each", [(rss_kib(agent.pid) - before) / n], "KiB", goal={"p50": 32},
              note=f"attached, idle; {(len(fds(agent.pid)) - descriptors) / n:.1f} descriptors each")
    for client in clients:
        client.drop()
        wire.ask("DELETE", f"/pty/{client.session}")
    eventually(lambda: len(fds(agent.pid)) <= descriptors + 2, message="descriptors are left")


def terminals(table, agent, quick):
    with Wire(agent.socket, {TOKEN_HEADER: TOKEN}) as wire:
        wire.ask("GET", "/ping")
        keys(table, agent, wire, 300 if quick else 2000)
        throughput(table, agent, wire, 50 if quick else 200)
        many(table, agent, wire, 100 if quick else 1000)
