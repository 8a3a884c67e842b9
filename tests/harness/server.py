"""Runs a real execd-server on a free loopback port with the built-in runtime.

    with Server(folder) as server:
        server.create({"resourceLimits": {...}})

`Host` compares what this machine holds on our behalf (mounts, control groups, processes, interfaces)
before and after.
"""

import os
import signal
import subprocess
from pathlib import Path

import httpx

from harness.execd import BUILD, check_stalls, eventually
from harness.log_reader import LogReader
from harness.patience import PATIENCE_S

SERVER = BUILD / "execd-server"
IMAGES = BUILD / "images"
KEY = "conformance-key-0123456789abcdef0123"
SMALL = "python-code-interpreter"
CREATE = {
    "image": {"uri": SMALL},
    "entrypoint": ["tail", "-f", "/dev/null"],
    "resourceLimits": {"cpu": "1", "memory": "512Mi"},
    "timeout": 600,
}


def why_not():
    """Why the built-in runtime cannot be tested here; None if it can."""
    if os.geteuid() != 0:
        return "the built-in runtime needs root"
    if not SERVER.exists():
        return "build/execd-server is not built"
    if not (IMAGES / SMALL / "rootfs.tar").exists():
        return f"the image {SMALL} is not built (make images)"
    return None


def import_image(state, name=SMALL):
    """The image store is filled once per state folder."""
    config = write_config(state)
    subprocess.run([SERVER, "--config", config, "image", "build", str(IMAGES / name), name], check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=300)


def write_config(state, group="execd-test", extra="", level="debug", section=""):
    """`section` is more of [server], `extra` what follows."""
    state = Path(state)
    state.mkdir(parents=True, exist_ok=True)
    config = state / "config.toml"
    config.write_text(f'[server]\nhost = "127.0.0.1"\nport = 0\n{section}[log]\nlevel = "{level}"\n[runtime]\n'
                      f'state_dir = "{state}"\n[native]\ncgroup_parent = "{group}"\n{extra}')
    return config


class Server:
    def __init__(self, state, *options, key=KEY, group="execd-test", extra="", env=None,
                 level="debug", section=""):
        self.state = Path(state)
        self.key = key
        self.group = group
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.state), **(env or {})}
        if key is not None:
            environment["OPENSANDBOX_SERVER_API_KEY"] = key
        self.process = subprocess.Popen([str(SERVER), "--config", str(write_config(state, group, extra, level, section)), *options],
                                        env=environment, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        self._log = LogReader(self.process.stderr)
        self.port = int(self.wait_log("listening")["port"])
        self.base = f"http://127.0.0.1:{self.port}"
        headers = {"OPEN-SANDBOX-API-KEY": key} if key else {}
        self.client = httpx.Client(base_url=self.base, headers=headers, timeout=PATIENCE_S)

    @property
    def lines(self):
        return self._log.lines

    @property
    def log(self):
        """The lines so far that are JSON."""
        return self._log.entries

    def wait_log(self, msg, limit_s=PATIENCE_S):
        return self._log.wait(lambda entry: entry.get("msg") == msg, f"no log line {msg!r}", limit_s)

    # ---- sandboxes

    def create(self, **changes):
        response = self.client.post("/v1/sandboxes", json={**CREATE, **changes})
        assert response.status_code == 202, response.text
        return response.json()

    def execd(self, ident, **options):
        """A client for the sandbox's execd, by the endpoint that the server names."""
        endpoint = self.client.get(f"/v1/sandboxes/{ident}/endpoints/44772").json()
        return httpx.Client(base_url="http://" + endpoint["endpoint"], headers=endpoint["headers"],
                            timeout=options.pop("timeout", PATIENCE_S), **options)

    def delete_all(self):
        for item in self.client.get("/v1/sandboxes", params={"pageSize": 200}).json()["items"]:
            self.client.delete(f"/v1/sandboxes/{item['id']}")

    # ---- its end

    def kill(self):
        """As a crash would: sandboxes stay."""
        self.process.kill()
        self.process.wait()

    def stop(self, limit_s=PATIENCE_S):
        self.client.close()
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(limit_s)
        self._log.join(5)
        return code

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if self.process.poll() is None:
            try:
                self.delete_all()
            finally:
                code = self.stop()
            if kind is None:
                assert code == 0, "\n".join(self.lines)
                check_stalls(self.log)


class Host:
    """What this machine holds for the servers of one state folder and control group."""

    def __init__(self, state, group="execd-test"):
        self.state, self.group = str(state), group

    def processes(self):
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open(f"/proc/{pid}/mountinfo", errors="replace") as file:
                    if self.state in file.read():
                        found.append(int(pid))
            except OSError:
                pass
        return found

    def snapshot(self):
        groups = [str(p) for p in Path("/sys/fs/cgroup").glob(f"**/{self.group}/*") if p.is_dir()]
        sandboxes = Path(self.state, "sandboxes")
        with open("/proc/self/mountinfo") as file:
            mounts = [line for line in file if self.state in line]
        return {
            "groups": sorted(groups),
            "mounts": mounts,
            "processes": self.processes(),
            "folders": sorted(os.listdir(sandboxes)) if sandboxes.exists() else [],
            "interfaces": sorted(os.listdir("/sys/class/net")),
        }

    def check_back_to(self, before, *kinds):
        """Of these kinds; none given: of all."""
        def is_back():
            now = self.snapshot()
            return all(now[kind] == before[kind] for kind in kinds or before)

        eventually(is_back, message=f"something is left behind, not only {before}")
