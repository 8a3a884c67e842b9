"""Runs a real execd: on a free port and a Unix socket, with a token, its log kept line by line.

    with Execd(tmp_path) as agent:
        agent.client.get("/ping")

Leaving the block ends the process by SIGTERM and checks its exit code. `Leaks` compares descriptors,
children and memory before and after a test.
"""

import hashlib
import json
import os
import signal
import socket
import subprocess
import time
from pathlib import Path

import httpx

from harness.log_reader import LogReader
from harness.patience import PATIENCE_S

BUILD = Path(os.environ.get("BUILD") or Path(__file__).resolve().parent.parent.parent / "build")
EXECD = BUILD / "execd"
TOKEN = "integration-token-5b1e"
TOKEN_HEADER = "X-EXECD-ACCESS-TOKEN"


def eventually(condition, limit_s=PATIENCE_S, message="condition not met in time"):
    """Wait for a condition that another process brings about; returns its value."""
    deadline = time.monotonic() + limit_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{message} (after {limit_s} s)")
        time.sleep(0.005)


def children(pid):
    """(pid, state) of every direct child."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            stat = (folder / "stat").read_text(errors="replace")
        except OSError:
            continue
        state, ppid = stat.rpartition(")")[2].split()[:2]
        if int(ppid) == pid:
            found.append((int(folder.name), state))
    return found


def status_field(pid, name):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        key, _, value = line.partition(":")
        if key == name:
            return value.strip()
    raise KeyError(name)


def n_open(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def cpu_s(pid):
    """Time that it has used so far."""
    with open(f"/proc/{pid}/stat") as stat:
        return sum(map(int, stat.read().rsplit(")", 1)[1].split()[11:13])) / os.sysconf("SC_CLK_TCK")


def rss_kib(pid):
    return int(status_field(pid, "VmRSS").split()[0])


def fds(pid):
    """What each open descriptor is, by number."""
    found = {}
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found[int(entry.name)] = os.readlink(entry)
        except OSError:
            pass
    return found


def check_stalls(log):
    """N05: no loop of ours stood still for a second. What a starved machine took from it is not its fault."""
    stalls = [entry for entry in log if entry.get("msg") == "the loop was held up"
              and int(entry["ms"]) - int(entry["without_cpu_ms"] or 0) >= 1000]
    assert not stalls, f"the loop was held up: {stalls}"


class Execd:
    """One running execd. `options` go before `entrypoint`; `env` is added to a small, known environment."""

    stalls_matter = True  # its loop is checked when it ends (check_stalls)

    def __init__(self, folder, *options, entrypoint=(), env=None, cwd=None, token=TOKEN, launcher=(), listen=True,
                 pass_fds=(), binary=EXECD):
        self.folder = Path(folder)
        self.token = token
        self.socket = self.folder / "execd.sock"
        command = [*launcher, str(binary)]
        if listen:
            command += ["--listen", "127.0.0.1:0", "--listen", f"unix:{self.socket}", "--inner-listen", "off"]
        command += [*options, *(["--", *entrypoint] if entrypoint else [])]
        full_env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "LANG": "C.UTF-8", **(env or {})}
        if token is not None:
            full_env["EXECD_TOKEN_SHA256"] = hashlib.sha256(token.encode()).hexdigest()
        self.process = subprocess.Popen(
            [str(word) for word in command],
            env=full_env,
            cwd=cwd or self.folder,
            stdin=subprocess.DEVNULL,
            pass_fds=pass_fds,
            stderr=subprocess.PIPE,
        )
        self.pid = self.process.pid
        self._log = LogReader(self.process.stderr)
        self._clients = []
        self._own = None

    # ---- log

    @property
    def lines(self):
        """What it has written so far, line by line."""
        return self._log.lines

    @property
    def log(self):
        """The log so far, as dictionaries."""
        return self._log.entries

    def wait_log(self, limit_s=PATIENCE_S, **wanted):
        """The first log line with these values."""
        return self._log.wait(lambda entry: all(entry.get(key) == value for key, value in wanted.items()),
                              f"no log line {wanted}", limit_s)

    # ---- talking to it

    def _listening(self, prefix):
        return self._log.wait(lambda e: e["msg"] == "listening" and e["where"].startswith(prefix),
                              "execd does not listen", PATIENCE_S)

    @property
    def port(self):
        return int(self._listening("127.0.0.1:")["port"])

    def connect(self):
        """A connected Unix socket."""
        self._listening("unix:")
        connection = socket.socket(socket.AF_UNIX)
        connection.connect(str(self.socket))
        return connection

    def new_client(self, token=TOKEN, **options):
        self._listening("unix:")
        headers = {TOKEN_HEADER: token} if token is not None else {}
        options.setdefault("timeout", PATIENCE_S)
        transport = httpx.HTTPTransport(uds=str(self.socket), verify=False)  # certificates would only cost time
        client = httpx.Client(base_url="http://execd", headers=headers, transport=transport, **options)
        self._clients = [other for other in self._clients if not other.is_closed] + [client]
        return client

    @property
    def client(self):
        """A client with the token over the Unix socket, made on first use."""
        if self._own is None or self._own.is_closed:
            self._own = self.new_client(self.token)
        return self._own

    def close_clients(self):
        while self._clients:
            self._clients.pop().close()

    def command(self, command=None, **body):
        """Runs POST /command to its end and returns its events."""
        if command is not None:
            body["command"] = command
        response = self.client.post("/command", json=body)
        assert response.status_code == 200, response.text
        return sse_events(response.text)

    # ---- its end

    def send_signal(self, signum):
        os.kill(self.pid, signum)

    def wait(self, limit_s=PATIENCE_S):
        code = self.process.wait(limit_s)
        self._log.join(5)
        if self.stalls_matter:
            check_stalls(self.log)
        return code

    def stop(self, signum=signal.SIGTERM, limit_s=PATIENCE_S):
        """Ends it; the exit code."""
        self.close_clients()
        if self.process.poll() is None:
            self.send_signal(signum)
        return self.wait(limit_s)

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        ended_by_itself = self.process.poll() is not None
        try:
            code = self.stop()
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("execd did not end within its time; log:\n" + "\n".join(self.lines)) from None
        if kind is None and not ended_by_itself:
            assert code == 0, f"execd ended with {code}; log:\n" + "\n".join(self.lines)


def sse_events(text):
    """The events of a stream in either framing: raw JSON or data: fields, each closed by a blank line."""
    events = []
    for block in text.split("\n\n"):
        data = [line.removeprefix("data:").strip() for line in block.split("\n")
                if line and not line.startswith((":", "id:", "event:", "retry:"))]
        if data:
            events.append(json.loads("\n".join(data)))
    return events


def output_of(events, kind="stdout"):
    return "".join(event["text"] for event in events if event["type"] == kind)


class Leaks:
    """Remembers what an execd holds; `check` fails when it holds more after a test."""

    RSS_KIB = 8 * 1024

    def __init__(self, agent):
        self.agent = agent
        agent.client.get("/ping")
        agent.close_clients()
        self.fds = self._settled_fds()
        self.children = len(children(agent.pid))
        self.rss = rss_kib(agent.pid)

    def _settled_fds(self):
        """Connections close a moment after their client has gone."""
        previous = -1
        for _ in range(200):
            now = len(fds(self.agent.pid))
            if now == previous:
                return now
            previous = now
            time.sleep(0.01)
        return previous

    def check(self):
        pid = self.agent.pid
        self.agent.close_clients()
        assert self.agent.process.poll() is None, "execd died:\n" + "\n".join(self.agent.lines)
        eventually(lambda: len(fds(pid)) <= self.fds, message="descriptors leak: see /proc/PID/fd")
        eventually(lambda: len(children(pid)) <= self.children, message="children are left")
        eventually(lambda: rss_kib(pid) - self.rss <= self.RSS_KIB, message=f"memory grew from {self.rss} KiB")
        with self.agent.new_client() as client:
            assert client.get("/ping").status_code == 200
