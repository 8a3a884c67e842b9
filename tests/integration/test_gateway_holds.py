"""For how long clients that do not read hold a kernel, all together: execd/code/hold_budget.h."""

import json
import re
import socket
import threading
import time
from functools import partial

import pytest

from harness.channels import Channels, is_status, reply_of, text_of, types
from harness.execd import Execd, children, eventually, rss_kib
from harness.python_kernels import start_with_python

CLIENTS_MAX = 64  # of a kernel: execd/code/context.h

FLOOD = """
import os
n = 0
while not os.path.exists({stop!r}):
    n += 1
    print(f"{{n}}:" + "x" * 60000, flush=True)
"""


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("holds")
    with start_with_python(partial(Execd, folder), folder, "--zygote", "off") as running:
        yield running


class Reader(threading.Thread):
    """Takes all that a cell prints, and counts it."""

    def __init__(self, channels, msg_id):
        super().__init__(daemon=True)
        self.channels, self.msg_id, self.bytes, self.text, self.stderr = channels, msg_id, 0, [], ""

    def run(self):
        while True:
            m = self.channels.read()
            if m.parent == self.msg_id and is_status(m, "idle"):
                return
            if m.msg_type == "stream" and m.content["name"] == "stdout":
                self.bytes += len(m.content["text"])
                self.text.append(m.content["text"])
            elif m.msg_type == "stream":
                self.stderr += m.content["text"]

    def numbers(self):
        return [int(n) for n in re.findall(r"(\d+):", "".join(self.text))]


def silent(agent, kernel, **options):
    """A connection that never reads, and whose socket swallows little."""
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.connect(("127.0.0.1", agent.port))
    return Channels(agent, kernel, connection=connection, **options)


def test_H03_clients_that_come_and_do_not_read_hold_a_kernel_for_so_long_in_all(agent, tmp_path):
    """Twenty of them, one after the other, each as long as it takes to lag behind: not two seconds for each."""
    kernel = agent.client.post("/api/kernels", json={"name": "python3"}).json()["id"]
    stop = tmp_path / "stop"
    with Channels(agent, kernel, v1=True, limit_s=30) as quick:
        quick.run("1")
        reader = Reader(quick, quick.execute(FLOOD.format(stop=str(stop))))
        reader.start()
        begun, enough = time.monotonic(), 6 << 20
        eventually(lambda: reader.bytes >= enough)
        alone_s = time.monotonic() - begun  # for as much as each of them waits for: how slow the machine is
        deadline = time.monotonic() + 20 + 30 * alone_s
        for _ in range(20):
            with silent(agent, kernel):
                enough = reader.bytes + (6 << 20)
                while reader.bytes < enough:
                    assert time.monotonic() < deadline, "the kernel is held again and again"
                    time.sleep(0.01)
        stop.touch()
        reader.join(30)
        assert not reader.is_alive() and reader.stderr == ""
        numbers = reader.numbers()
        assert numbers == list(range(1, len(numbers) + 1)), "nothing is lost for who reads"
    agent.client.delete(f"/api/kernels/{kernel}")


# A cell that is over, and goes on printing: its kernel is idle while it is held.
AFTERWARDS = """
import os, threading, time
def flood():
    while not os.path.exists({go!r}): time.sleep(0.01)
    for n in range(60): print("x" * 10000, flush=True)
    print("x" * 4000000, flush=True)
threading.Thread(target=flood, daemon=True).start()
"""


def test_H07_what_is_sent_to_an_idle_kernel_that_is_held_is_not_given_up(agent, tmp_path):
    kernel = agent.client.post("/api/kernels", json={"name": "python3"}).json()["id"]

    def is_held():
        return any(state == "T" for _, state in children(agent.pid))

    with silent(agent, kernel) as slow:
        slow.run(AFTERWARDS.format(go=str(tmp_path / "go")))
        (tmp_path / "go").touch()
        eventually(is_held)
        msg_id = slow.execute("print(6 * 7)")
        deadline = time.monotonic() + 7  # a kernel that sleeps, not one that is held, has dropped it by then
        while time.monotonic() < deadline:
            enough = len(slow.ws.buffer) + 50000  # as slowly as it likes, for it is alone
            while len(slow.ws.buffer) < enough:
                slow.ws.buffer += slow.ws.socket.recv(10000)
            assert is_held()
            time.sleep(0.5)
        mine = slow.until(lambda m: m.parent == msg_id and is_status(m, "idle"), 30)
        mine = [m for m in mine if m.parent == msg_id]
        assert reply_of(mine).content["status"] == "ok", reply_of(mine).content
        assert text_of(mine) == "42\n" and types(mine).count("idle") == 1
    agent.client.delete(f"/api/kernels/{kernel}")


def test_H03_who_comes_and_leaves_again_keeps_nobody_out(agent, tmp_path):
    """A notebook that loads again and again during a long cell: its questions wait for the kernel, clients do not."""
    kernel = agent.client.post("/api/kernels", json={"name": "python3"}).json()["id"]
    stop = tmp_path / "stop"
    with Channels(agent, kernel, limit_s=30) as first:
        first.run("1")
        cell = first.execute(f"import os, time\nwhile not os.path.exists({str(stop)!r}): time.sleep(0.02)\nprint('end')")
        first.until(lambda m: is_status(m, "busy") and m.parent == cell)
        for number in range(600):  # more than are kept one by one
            with Channels(agent, kernel) as visitor:
                visitor.send("kernel_info_request", {"pad": "x" * 2000}, channel="control" if number % 8 == 7 else "shell")
        with Channels(agent, kernel, v1=True) as late:
            late.send("kernel_info_request")
            stop.touch()
            assert text_of(first.result(cell)) == "end\n"
            reply = late.until(lambda m: m.channel == "shell")[-1]
            assert reply.msg_type == "kernel_info_reply"
            assert text_of(late.run("print(6 * 7)")) == "42\n"
    agent.client.delete(f"/api/kernels/{kernel}")


def test_H03_many_that_do_not_read_cost_little_more_than_one(agent):
    """What they wait for is made ready and kept once for all of them, and the memory goes back when they have gone."""
    kernel = agent.client.post("/api/kernels", json={"name": "python3"}).json()["id"]
    with Channels(agent, kernel) as first:
        first.run("1")
    before = peak = rss_kib(agent.pid)
    clients = [silent(agent, kernel, v1=number % 2 == 0) for number in range(CLIENTS_MAX)]
    body = {"code": "for i in range(300): print('x' * 100000)", "context": {"id": kernel}}
    with agent.client.stream("POST", "/code", json=body, timeout=30) as response:
        n_bytes = 0
        for part in response.iter_bytes():
            n_bytes += len(part)
            peak = max(peak, rss_kib(agent.pid))
    assert n_bytes > 30_000_000
    assert peak - before < 128 << 10
    for client in clients:
        client.ws.drop()
    eventually(lambda: rss_kib(agent.pid) - before < 16 << 10, message="the memory of clients that have gone is kept")
    agent.client.delete(f"/api/kernels/{kernel}")
