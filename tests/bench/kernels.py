"""Code in a kernel beside jupyter_client's own messages over bare sockets to a kernel of the same ipykernel."""

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

from harness.execd import TOKEN, TOKEN_HEADER, children, rss_kib
from wire import Wire

KERNEL = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]


def write_spec(folder):
    spec = folder / "kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    spec.write_text(json.dumps({"argv": KERNEL, "display_name": "Python 3", "language": "python"}))


class BareKernel:
    """One kernel on ipc:// and the two sockets that running code needs; no client library in the way."""

    def __init__(self, folder, name):
        file = folder / f"{name}.json"
        _, about = write_connection_file(str(file), ip=str(folder / name), transport="ipc", key=b"bench-key")
        self.session = Session(key=b"bench-key")
        self.context = zmq.Context()
        self.shell = self.socket(zmq.DEALER, about, "shell_port")
        self.iopub = self.socket(zmq.SUB, about, "iopub_port", rcvhwm=0)
        self.iopub.subscribe(b"")
        self.poller = zmq.Poller()
        self.poller.register(self.shell, zmq.POLLIN)
        self.poller.register(self.iopub, zmq.POLLIN)
        self.process = subprocess.Popen([word.format(connection_file=file) for word in KERNEL], cwd=folder,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def socket(self, kind, about, port, **options):
        made = self.context.socket(kind)
        for name, value in options.items():
            setattr(made, name, value)
        made.linger = 0
        made.reconnect_ivl = 1  # milliseconds: a kernel that just started is found at once
        made.connect(f"ipc://{about['ip']}-{about[port]}")
        return made

    def run(self, code, early=False, counting=False):
        """To its reply and the idle status; `early`: to the reply, as a fresh subscription may miss the status.
        The result's text, or with `counting` the bytes of its streams."""
        sent = self.session.send(self.shell, "execute_request", {
            "code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
            "stop_on_error": True})
        wanted, result = {"reply"} if early else {"reply", "idle"}, 0 if counting else None
        while wanted:
            ready = self.poller.poll(30000)
            if not ready:
                raise RuntimeError("the bare kernel does not answer")
            for socket, _ in ready:
                _, parts = self.session.feed_identities(socket.recv_multipart())
                message = self.session.deserialize(parts)
                if message["parent_header"].get("msg_id") != sent["header"]["msg_id"]:
                    continue
                if message["msg_type"] == "stream" and counting:
                    result += len(message["content"]["text"])
                elif message["msg_type"] == "execute_result":
                    result = message["content"]["data"]["text/plain"]
                elif message["msg_type"] == "execute_reply":
                    wanted.discard("reply")
                elif message["msg_type"] == "status" and message["content"]["execution_state"] == "idle":
                    wanted.discard("idle")
        return result

    def close(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.context.destroy(linger=0)


def clocked(call):
    begin = time.monotonic_ns()
    value = call()
    return (time.monotonic_ns() - begin) / 1e6, value


def code(table, agent, folder, quick):
    with Wire(agent.socket, {TOKEN_HEADER: TOKEN}) as wire:
        warm(table, wire, folder, 60 if quick else 300)
        flood(table, wire, folder, 2 if quick else 4)
        fresh(table, wire, folder, 4 if quick else 20)


def warm(table, wire, folder, n):
    body = {"code": "1+1", "context": {"language": "python"}}
    kernel, bare, ours = BareKernel(folder, "warm"), [], []
    try:
        kernel.run("1+1", early=True)
        for turn in range(n + 5):
            taken, result = clocked(lambda: kernel.run("1+1"))
            through, text = clocked(lambda: wire.ask("POST", "/code", body))
            if result != "2" or b'"text/plain":"2"' not in text and b'"text":"2"' not in text:
                raise RuntimeError(f"1+1 is {result!r} bare and here: {text.decode(errors='replace')}")
            if turn >= 5:  # the first ones fill the caches of both
                bare.append(taken), ours.append(through)
    finally:
        kernel.close()
    table.add("POST /code 1+1, warm context", ours, "ms", floor=bare, goal={"ratio": 1.1},
              note="floor: jupyter_client's messages on bare ipc sockets, another kernel of the same ipykernel")


FLOOD_BYTES = 100_000_000
FLOOD = f"import sys\nfor _ in range({FLOOD_BYTES} // 100_000): sys.stdout.write('0123456789' * 9_999 + 'abcdefgh\\n\\n')"


def flood(table, wire, folder, n):
    """Every byte of a cell's output, counted on both sides."""
    kernel, bare, ours, made = BareKernel(folder, "flood"), [], [], create(wire)
    body = {"code": FLOOD, "context": {"id": made["id"], "language": "python"}}
    try:
        kernel.run("1", early=True)
        for _ in range(n):
            taken, got = clocked(lambda: kernel.run(FLOOD, counting=True))
            through, text = clocked(lambda: wire.ask("POST", "/code", body))
            lines = text.count(b"\\n")  # as JSON writes them
            if got != FLOOD_BYTES or lines != 2 * FLOOD_BYTES // 100_000:
                raise RuntimeError(f"{got} bytes bare and {lines} line ends here of {FLOOD_BYTES} bytes")
            bare.append(FLOOD_BYTES / 1e3 / taken), ours.append(FLOOD_BYTES / 1e3 / through)
    finally:
        kernel.close()
        delete(wire, made)
    table.add("100 MB of stdout through a cell", ours, "MB/s", floor=bare, goal={"ratio": 0.8}, more=True,
              note="floor: jupyter_client draining the same cell from bare sockets")


def create(wire, **more):
    return json.loads(wire.ask("POST", "/code/context", {"language": "python", **more}))


def first_result(wire, made):
    wire.ask("POST", "/code", {"code": "1+1", "context": {"id": made["id"], "language": "python"}})


def delete(wire, made):
    wire.ask("DELETE", f"/code/contexts/{made['id']}", wanted=(200, 204))


def fresh(table, wire, folder, n):
    """Contexts by how they started: the pool's ready ones, and forked ones (with a directory of their own)."""
    bare, by_start = [], {"pool": [], "forked": []}
    for turn in range(min(n, 4)):
        taken, kernel = clocked(lambda turn=turn: started(folder, turn))
        kernel.close()
        bare.append(taken)
    warm_up = [create(wire), create(wire)]  # the first is cold and makes the warm interpreter
    for turn in range(2 * n):
        options = {"cwd": str(folder)} if turn % 2 else {}
        taken, made = clocked(lambda options=options: make_and_ask(wire, options))
        by_start.get(made.get("start"), []).append(taken)
        delete(wire, made)
        time.sleep(0.15)  # the pool fills again
    for made in warm_up:
        delete(wire, made)
    for start, goal in (("forked", 45), ("pool", 10)):
        if by_start[start]:
            table.add(f"new Python context ({start}) → first result", by_start[start], "ms", floor=bare, goal={"p50": goal},
                      note="floor: the same kernel started cold and bare, to its first reply")
        else:
            table.left_out(f"new Python context ({start})", "no context was started so")


def started(folder, turn):
    kernel = BareKernel(folder, f"fresh{turn}")
    try:
        kernel.run("1+1", early=True)
        return kernel
    except BaseException:
        kernel.close()
        raise


def make_and_ask(wire, options):
    made = create(wire, **options)
    first_result(wire, made)
    return made


AT_ONCE = 8
MANY = 200


def many(table, agent, quick):
    """Kernels of a fresh execd: eight at once, their memory, and two hundred of them."""
    wires = [Wire(agent.socket, {TOKEN_HEADER: TOKEN}) for _ in range(AT_ONCE)]
    delete(wires[0], make_and_ask(wires[0], {}))
    time.sleep(1)  # the warm interpreter is ready
    taken = []
    for _ in range(2 if quick else 5):
        begin = time.monotonic_ns()
        for wire in wires:
            wire.send("POST", "/code/context", {"language": "python"})
        made = [json.loads(wire.answer("a new context")) for wire in wires]
        for wire, one in zip(wires, made):
            wire.send("POST", "/code", {"code": "1+1", "context": {"id": one["id"], "language": "python"}})
        for wire in wires:
            wire.answer("1+1")
        taken.append((time.monotonic_ns() - begin) / 1e6)
        for one in made:
            delete(wires[0], one)
    table.add(f"{AT_ONCE} new Python contexts at once, all with a result", taken, "ms", goal={"p50": 250})
    n, begin = (40 if quick else MANY), time.monotonic_ns()
    made = [create(wires[0]) for _ in range(n)]
    each = (time.monotonic_ns() - begin) / 1e6 / n
    for one in made:
        first_result(wires[0], one)
    table.add(f"{n} kernels in one sandbox, each", [each], "ms", note="all of them answered 1+1 afterwards")
    private = [private_mib(pid) for pid, _ in children(agent.pid) if is_kernel(pid)]
    table.add("memory of an idle forked kernel, private", private, "MB", goal={"p50": 16})
    table.add(f"execd's own memory with {n} kernels", [rss_kib(agent.pid) / 1024], "MB")
    for one in made:
        delete(wires[0], one)
    for wire in wires:
        wire.socket.close()


def is_kernel(pid):
    try:
        return b"ipykernel" in Path(f"/proc/{pid}/cmdline").read_bytes() and private_mib(pid) > 4
    except OSError:
        return False


def private_mib(pid):
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(kib) for kib in re.findall(r"^Private_Dirty: +(\d+) kB", text, re.MULTILINE)) / 1024
