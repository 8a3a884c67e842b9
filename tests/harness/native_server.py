"""Runs a real execd-server with the native runtime, state and control groups of its own.

    with Server(tmp_path) as server:
        server.add_image("busybox", folder)
        box = server.create("busybox")
        box.run("id").stdout

Everything that it starts is found by its state folder and its group name: `leftovers()` lists what is
still there after the sandboxes are gone.
"""

import json
import os
import signal
import subprocess
import uuid
from pathlib import Path

import httpx

from harness.execd import check_stalls
from harness.log_reader import LogReader
from harness.patience import PATIENCE_S

BUILD = Path(os.environ.get("BUILD") or Path(__file__).resolve().parent.parent.parent / "build")
SERVER = BUILD / "execd-server"
EXECD = BUILD / "execd"
API_KEY = "server-key-93f1"


class Outcome:
    """What a command in a sandbox said and how it ended."""

    def __init__(self, events):
        self.events = events
        self.stdout = "".join(e["text"] for e in events if e["type"] == "stdout")
        self.stderr = "".join(e["text"] for e in events if e["type"] == "stderr")
        error = next((e["error"] for e in events if e["type"] == "error"), None)
        self.code = 0 if error is None else int(error["evalue"]) if error["evalue"].lstrip("-").isdigit() else None
        self.error = error


class Sandbox:
    """One sandbox, reached through the server's proxy."""

    def __init__(self, server, answer):
        self.server = server
        self.id = answer["id"]
        self.answer = answer
        endpoint = server.api("GET", f"/sandboxes/{self.id}/endpoints/44772").json()
        self.url = "http://" + endpoint["endpoint"]
        self.headers = endpoint["headers"]
        self.token = next(iter(self.headers.values()))

    @property
    def folder(self):
        return self.server.state / "sandboxes" / self.id

    @property
    def state(self):
        return json.loads((self.folder / "state.json").read_text())

    @property
    def pid(self):
        """Of its first process, as the host sees it."""
        return self.state["pid"]

    @property
    def log(self):
        return (self.folder / "execd.log").read_text(errors="replace")

    def run(self, command, timeout_s=60, **fields):
        events = []
        with self.server.client.stream("POST", f"{self.url}/command", headers=self.headers, timeout=timeout_s,
                                       json={"command": command, **fields}) as answer:
            answer.read() if answer.status_code != 200 else None
            assert answer.status_code == 200, answer.text
            for line in answer.iter_lines():
                if line.strip():
                    events.append(json.loads(line))
        return Outcome(events)

    def ping(self):
        return self.server.client.get(f"{self.url}/ping", headers=self.headers).status_code

    def get(self):
        return self.server.api("GET", f"/sandboxes/{self.id}")

    def delete(self):
        answer = self.server.api("DELETE", f"/sandboxes/{self.id}")
        assert answer.status_code == 204, answer.text


class Server:
    stalls_matter = True  # its loop is checked when it ends (check_stalls)

    def __init__(self, folder, config="", binary=SERVER, execd=EXECD):
        self.folder = Path(folder)
        self.state = self.folder / "state"
        self.group = f"execd-test-{uuid.uuid4().hex[:8]}"
        self.binary = binary
        self.config = self.folder / "server.toml"
        self.config.write_text(
            f'[server]\nhost = "127.0.0.1"\nport = 0\napi_key = "{API_KEY}"\n'
            f'[runtime]\nstate_dir = "{self.state}"\nexecd_path = "{execd}"\n'
            f'[native]\ncgroup_parent = "{self.group}"\n{config}'
        )
        self.client = httpx.Client(timeout=PATIENCE_S)
        self.process = None

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        try:
            if self.process.poll() is not None:
                self.start()
            self.remove_all()
        finally:
            self.stop()
            self.client.close()
            remove_groups(self.group)

    # ---- the process

    def start(self):
        self.process = subprocess.Popen([str(self.binary), "-c", str(self.config)], stdin=subprocess.DEVNULL,
                                        stderr=subprocess.PIPE)
        self._log = LogReader(self.process.stderr)
        port = self._log.wait(lambda e: e.get("msg") == "listening" and e.get("module") == "server",
                              "the server does not start", 20)["port"]
        self.url = f"http://127.0.0.1:{port}/v1"

    @property
    def lines(self):
        return self._log.lines

    @property
    def log(self):
        return self._log.entries

    def kill(self):
        """As a crash: no chance to clean up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._log.join()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise
        self._log.join()
        self.process.stderr.close()
        if self.stalls_matter:
            check_stalls(self.log)

    # ---- the API

    def api(self, method, path, **keywords):
        headers = {"OPEN-SANDBOX-API-KEY": API_KEY, **keywords.pop("headers", {})}
        return self.client.request(method, self.url + path, headers=headers, **keywords)

    def try_create(self, image, entrypoint=("sleep", "infinity"), limits=None, **fields):
        return self.api("POST", "/sandboxes", json={"image": {"uri": image}, "entrypoint": list(entrypoint),
                                                    "timeout": 600, "resourceLimits": limits or {}, **fields})

    def create(self, image, *arguments, **fields):
        answer = self.try_create(image, *arguments, **fields)
        assert answer.status_code == 202, answer.text
        return Sandbox(self, answer.json())

    def remove_all(self):
        for item in self.api("GET", "/sandboxes?pageSize=200").json()["items"]:
            self.api("DELETE", f"/sandboxes/{item['id']}")

    def add_image(self, name, folder):
        done = subprocess.run([str(self.binary), "-c", str(self.config), "image", "build", str(folder), name],
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout.split()[-1]

    # ---- what is left

    def leftovers(self):
        """Folders, groups and processes of sandboxes that still exist."""
        sandboxes = self.state / "sandboxes"
        found = [str(path) for path in sandboxes.iterdir()] if sandboxes.exists() else []
        found += [str(path) for path in groups(self.group)]
        found += [f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines()
                  if str(self.state) in line]
        for stat in Path("/proc").glob("[0-9]*/cgroup"):
            try:
                if self.group + "/" in stat.read_text() and not is_zombie(stat.parent):
                    found.append(f"process {stat.parent.name}")
            except OSError:
                pass
        return found


def is_zombie(process):
    """Ended, and its parent (the host's init, for sandboxes of a killed server) has not looked yet."""
    return (process / "stat").read_text(errors="replace").rpartition(")")[2].split()[0] == "Z"


def groups(parent):
    """Folders of sandboxes' groups below every parent group of this name, in every hierarchy."""
    for root, folders, _ in os.walk("/sys/fs/cgroup"):
        if os.path.basename(root) == parent:
            yield from (Path(root) / name for name in folders)
            folders.clear()


def remove_groups(parent):
    for root, folders, _ in os.walk("/sys/fs/cgroup"):
        if parent in folders:
            try:
                os.rmdir(os.path.join(root, parent))
            except OSError:
                pass
            folders.remove(parent)
