"""The gateway surface beside the Jupyter Kernel Gateway: the same client, the same kernel."""

import json
import os
import subprocess
import sys
import time
import urllib.request
import uuid

import websocket

from harness.execd import TOKEN, TOKEN_HEADER
from kernels import BareKernel, clocked


class Notebook:
    """A kernel of a gateway and the WebSocket that most clients use: text frames, no subprotocol."""

    def __init__(self, url, headers=None):
        self.url, self.headers = url, headers or {}
        self.id = json.loads(self.ask("POST", "/api/kernels", {"name": "python3"}))["id"]
        self.socket = websocket.create_connection(f"{url.replace('http', 'ws')}/api/kernels/{self.id}/channels",
                                                  header=self.headers, timeout=30)

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self.url + path, method=method, headers=self.headers,
                                         data=None if body is None else json.dumps(body).encode())
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.read()

    def run(self, code):
        ident, wanted, result = uuid.uuid4().hex, {"execute_reply", "idle"}, None
        self.socket.send(json.dumps({
            "header": {"msg_id": ident, "msg_type": "execute_request", "session": "bench", "username": "", "version": "5.3"},
            "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": [],
            "content": {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}}))
        while wanted:
            message = json.loads(self.socket.recv())
            if message["parent_header"].get("msg_id") != ident:
                continue
            if message["msg_type"] == "execute_result":
                result = message["content"]["data"]["text/plain"]
            wanted -= {message["msg_type"], message["content"].get("execution_state")}
        return result

    def close(self):
        self.socket.close()
        self.ask("DELETE", f"/api/kernels/{self.id}")


class KernelGateway:
    """The Jupyter Kernel Gateway from PyPI."""

    def __init__(self, folder, port):
        self.url = f"http://127.0.0.1:{port}"
        self.log = (folder / "kernelgateway.log").open("w")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "kernel_gateway", "--KernelGatewayApp.ip=127.0.0.1", f"--KernelGatewayApp.port={port}",
             "--KernelGatewayApp.port_retries=0"], cwd=folder, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log,
            env={"PATH": os.environ["PATH"], "HOME": str(folder), "JUPYTER_PATH": str(folder)})
        deadline = time.monotonic() + 20
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/api", timeout=5).read()
                return
            except OSError:
                if time.monotonic() > deadline or self.process.poll() is not None:
                    self.close()
                    raise RuntimeError("the Jupyter Kernel Gateway does not answer") from None
                time.sleep(0.02)

    def close(self):
        self.process.terminate()
        self.process.wait(20)
        self.log.close()


def calls(table, agent, folder, port, quick):
    reference, bare = KernelGateway(folder, port), BareKernel(folder, "gateway")
    made = []
    try:
        bare.run("1+1", early=True)
        made = [Notebook(f"http://127.0.0.1:{agent.port}", {TOKEN_HEADER: TOKEN}), Notebook(reference.url)]
        taken = {"bare": [], "ours": [], "theirs": []}
        for turn in range((60 if quick else 300) + 5):
            for name, kernel in (("bare", bare), ("ours", made[0]), ("theirs", made[1])):
                ms, result = clocked(lambda kernel=kernel: kernel.run("1+1"))
                if result != "2":
                    raise RuntimeError(f"1+1 is {result!r} ({name})")
                if turn >= 5:
                    taken[name].append(ms)
    finally:
        for notebook in made:
            notebook.close()
        bare.close()
        reference.close()
    table.add("1+1 through the gateway's WebSocket", taken["ours"], "ms", floor=taken["bare"], goal={"ratio": 1.5},
              note="floor: jupyter_client's messages on bare ipc sockets")
    table.add("the same through Jupyter Kernel Gateway", taken["theirs"], "ms", floor=taken["bare"])
