"""ms-enclave's notebook sandbox in our image over a real Docker daemon: its own client, unmodified, beside Docker alone."""

import asyncio
import importlib.util
import logging
import time

from harness import docker as daemon
from kernels import BareKernel, clocked

NAME = "jupyter-kernel-gateway"
PROBED, STARTED, CALLED, STOPPED = (
    "ms-enclave: docker run → first probe 200", "ms-enclave: its client's start()",
    "ms-enclave: notebook_executor of 1+1", "ms-enclave: stop by SIGTERM")
LIMITS = {"memory_limit": "1g", "cpu_limit": 2.0}


def why_not():
    if importlib.util.find_spec("ms_enclave") is None:
        return "ms-enclave is not installed (make setup)"
    return daemon.why_no_image()


def sandboxes(table, folder, quick):
    reason = why_not()
    if reason:
        for what in (PROBED, STARTED, CALLED, STOPPED):
            table.left_out(what, reason)
        return
    taken = {what: [] for what in (PROBED, STARTED, CALLED, STOPPED, "true", "bare", "kill")}
    bare = BareKernel(folder, "enclave")
    try:
        bare.run("1+1", early=True)
        with daemon.image(NAME) as docker:
            measure = Measure(bare, taken)
            docker.inside(measure.turn)
            for values in taken.values():
                values.clear()  # the image's pages are read once
            for _ in range(3 if quick else 15):
                docker.inside(measure.turn)
    finally:
        bare.close()
    table.add(PROBED, taken[PROBED], "ms", floor=taken["true"], goal={"p50": 600},
              note=f"floor: docker run of `true` in that image; {measure.failed} of {measure.probed} first probes were too early, "
                   "which costs their client 3 s")
    table.add(STARTED, taken[STARTED], "ms", floor=taken["true"], note="with a kernel and its WebSocket")
    table.add(CALLED, taken[CALLED], "ms", floor=taken["bare"], goal={"p50": 6},
              note="floor: bare kernel sockets outside the container")
    table.add(STOPPED, taken[STOPPED], "ms", floor=taken["kill"],
              note="docker stop alone, a kernel at work; floor: the same of a program that is killed at once")


class Measure:
    def __init__(self, bare, taken):
        import docker

        logging.disable(logging.INFO)  # they talk into the table
        self.client, self.bare, self.taken = docker.from_env(), bare, taken
        self.probed = self.failed = 0

    def turn(self):
        """Each once, in a thread that sees the daemon's network."""
        ms, container = clocked(lambda: self.run("true"))
        self.taken["true"].append(ms)
        container.remove()
        container = self.run("sleep", ["600"], stop_signal="SIGKILL", wait=False)
        self.taken["kill"].append(clocked(container.stop)[0])
        container.remove()
        self.probe()
        asyncio.run(self.sandbox())

    def run(self, program, arguments=(), wait=True, **more):
        container = self.client.containers.create(NAME, entrypoint=[program, *arguments], network="bridge", **more)
        container.start()
        if wait:
            container.wait()
        return container

    def probe(self):
        import requests

        begin = time.monotonic_ns()
        container = self.client.containers.create(NAME, working_dir="/sandbox", tty=True, stdin_open=True,
                                                  ports={"8888/tcp": 8888}, network="bridge")
        container.start()
        container.reload()  # as their client does
        probes = 1
        while not self.answers(requests):
            probes += 1
            if time.monotonic_ns() - begin > 30e9:
                raise RuntimeError("the container does not answer within 30 s")
        self.taken[PROBED].append((time.monotonic_ns() - begin) / 1e6)
        self.probed += 1
        self.failed += probes > 1
        container.remove(force=True)

    def answers(self, requests):
        try:
            return requests.get("http://127.0.0.1:8888/api", timeout=5).status_code == 200
        except requests.RequestException:
            return False

    async def sandbox(self):
        from ms_enclave.sandbox.boxes import SandboxFactory
        from ms_enclave.sandbox.model import DockerNotebookConfig, SandboxType

        config = DockerNotebookConfig(tools_config=["notebook_executor"], **LIMITS)
        box = SandboxFactory.create_sandbox(SandboxType.DOCKER_NOTEBOOK, config)
        begin = time.monotonic_ns()
        try:
            await box.start()
            self.taken[STARTED].append((time.monotonic_ns() - begin) / 1e6)
            for turn in range(25):
                begin = time.monotonic_ns()
                result = await box.execute_tool("notebook_executor", {"code": "1+1"})
                ms = (time.monotonic_ns() - begin) / 1e6
                if result.output != "\nResult: 2":
                    raise RuntimeError(f"1+1 is {result.output!r}")
                if turn >= 5:  # the first ones wait for the kernel to be warm
                    self.taken[CALLED].append(ms)
                    self.taken["bare"].append(clocked(lambda: self.bare.run("1+1"))[0])
            self.taken[STOPPED].append(clocked(box.container.stop)[0])
        finally:
            await box.stop()
