"""Code in a kernel beside jupyter_client's own messages over bare sockets to a kernel of the same ipykernel."""

import json
import signal
import subprocess
import sys
import time

import zmq
from jupyter_client.connect import write_connection_file
from jupyter_client.session import Session

from harness.execd import TOKEN, TOKEN_HEADER
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
        self.iopub = self.socket(zmq.SUB, about, "iopub_port")
        self.iopub.subscribe(b"")
        self.poller = zmq.Poller()
        self.poller.register(self.shell, zmq.POLLIN)
        self.poller.register(self.iopub, zmq.POLLIN)
        self.process = subprocess.Popen([word.format(connection_file=file) for word in KERNEL], cwd=folder,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def socket(self, kind, about, port):
        made = self.context.socket(kind)
        made.linger = 0
        made.reconnect_ivl = 1  # milliseconds: a kernel that just started is found at once
        made.connect(f"ipc://{about['ip']}-{about[port]}")
        return made

    def run(self, code, early=False):
        """To its reply and the idle status; `early`: to the reply, as a fresh subscription may miss the status."""
        sent = self.session.send(self.shell, "execute_request", {
            "code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False,
            "stop_on_error": True})
        wanted, result = {"reply"} if early else {"reply", "idle"}, None
        while wanted:
            ready = self.poller.poll(30000)
            if not ready:
                raise RuntimeError("the bare kernel does not answer")
            for socket, _ in ready:
                _, parts = self.session.feed_identities(socket.recv_multipart())
                message = self.session.deserialize(parts)
                if message["parent_header"].get("msg_id") != sent["header"]["msg_id"]:
                    continue
                if message["msg_type"] == "execute_result":
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
        fresh(table, wire, folder, 2 if quick else 5)
        warm(table, wire, folder, 60 if quick else 300)


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


def fresh(table, wire, folder, n):
    bare, ours = [], []

    def start_bare(turn):
        kernel = BareKernel(folder, f"fresh{turn}")
        try:
            kernel.run("1+1", early=True)
            return kernel
        except BaseException:
            kernel.close()
            raise

    def start_ours():
        made = json.loads(wire.ask("POST", "/code/context", {"language": "python"}))
        wire.ask("POST", "/code", {"code": "1+1", "context": {"id": made["id"], "language": "python"}})
        return made["id"]

    for turn in range(n):
        taken, kernel = clocked(lambda: start_bare(turn))
        kernel.close()
        bare.append(taken)
        taken, ident = clocked(start_ours)
        wire.ask("DELETE", f"/code/contexts/{ident}", wanted=(200, 204))
        ours.append(taken)
    table.add("new Python context → first result", ours, "ms", floor=bare, goal={"ratio": 1.1},
              note="cold start; floor: the same kernel started bare, to its first reply")
