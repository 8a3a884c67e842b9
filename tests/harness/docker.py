"""A Docker daemon of our own: data, socket and network apart from the machine's, gone with the test.

    with Docker(folder) as docker:
        docker.load(archive)
        docker.inside(work)      # work() in a thread that sees the daemon's network: its 127.0.0.1 has the published ports

    with image("jupyter-kernel-gateway") as docker:     # packed from what is built, and loaded

The daemon has a network namespace of its own, so that its bridge never appears on the machine and published ports
collide with nobody's, and keeps its data in memory.
"""

import contextlib
import ctypes
import os
import shutil
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from unittest import mock

import httpx

from harness.execd import BUILD, EXECD

PACK = Path(__file__).resolve().parent.parent.parent / "images/pack-docker"
HOME = BUILD / "deps/docker"
CLONE_NEWNET = 0x40000000


def why_not():
    if os.geteuid() != 0:
        return "a Docker daemon needs root"
    if not (HOME / "bin/dockerd").exists():
        return "dockerd is not there (make setup)"
    return None


def why_no_image():
    if not (BUILD / "images/python-code-interpreter/rootfs.tar").exists():
        return "the image python-code-interpreter is not built (make images)"
    return why_not()


@contextlib.contextmanager
def image(name):
    """A daemon that has the image of that recipe, and is the one that Docker's clients find."""
    folder = Path(tempfile.mkdtemp(prefix="execd-docker-"))
    try:
        archive = folder / "image.tar"
        subprocess.run([PACK, name, BUILD / "images", EXECD, archive], check=True, timeout=60)
        with Docker(folder) as running, mock.patch.dict(os.environ, DOCKER_HOST=running.url):
            running.load(archive)
            archive.unlink()
            yield running
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Docker:
    def __init__(self, folder):
        self.folder = Path(folder)
        self.data = self.folder / "data"
        self.data.mkdir(parents=True)
        self.socket = self.folder / "docker.sock"
        self.url = f"unix://{self.socket}"
        self.log = open(self.folder / "log", "w+")
        path = f"{HOME / 'bin'}:/usr/sbin:/sbin:{os.environ['PATH']}"
        script = ('ip link set lo up && mount -t tmpfs -o size=4g docker "$1/data" && '
                  'exec dockerd --data-root "$1/data" --exec-root "$1/exec" --pidfile "$1/pid" -H "unix://$1/docker.sock" '
                  '--iptables=false --ip6tables=false')
        self.process = subprocess.Popen(
            ["unshare", "--net", "--mount", "sh", "-c", script, "sh", str(self.folder)],
            env={"PATH": path, "LD_LIBRARY_PATH": str(HOME / "lib"), "HOME": str(self.folder)},
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        self.client = httpx.Client(base_url="http://docker", transport=httpx.HTTPTransport(uds=str(self.socket)), timeout=60)
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 30
        while True:
            try:
                if self.client.get("/_ping").status_code == 200:
                    return
            except httpx.TransportError:
                pass
            if self.process.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "log").read_text()[-3000:]
                self.stop()
                raise AssertionError(f"dockerd does not come up:\n{text}")
            time.sleep(0.05)

    def load(self, archive):
        with open(archive, "rb") as file:
            answer = self.client.post("/images/load", content=file, params={"quiet": "1"})
        assert answer.status_code == 200 and "error" not in answer.text, answer.text

    def inside(self, work, limit_s=120):
        """work() in a thread of its own, which threads that it starts inherit its network from."""
        outcome = []

        def run():
            try:
                with open(f"/proc/{self.process.pid}/ns/net") as namespace:
                    if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), CLONE_NEWNET) < 0:
                        raise OSError(ctypes.get_errno(), "setns")
                outcome.append((work(), None))
            except BaseException as error:  # handed to the caller below
                outcome.append((None, error))

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(limit_s)
        assert outcome, f"not over within {limit_s} s"
        value, error = outcome[0]
        if error is not None:
            raise error
        return value

    def containers(self):
        return self.client.get("/containers/json", params={"all": "1"}).json()

    def stop(self):
        self.client.close()
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        self.stop()
