"""execd as PID 1 of a pid namespace of its own, with a /proc of its own."""

import os
import shutil

import pytest

from harness.execd import Execd, children, eventually
from harness.hung import HungFileSystem

# As in a container: root, but nothing that looks into other processes or mounts.
DROPPED_CAPS = "-sys_ptrace,-sys_admin,-sys_resource,-dac_read_search,-sys_nice,-perfmon"


class Pid1(Execd):
    """`launcher` programs run between unshare and execd; each must exec the next (setpriv, env, sh -c 'exec')."""

    def __init__(self, folder, *options, launcher=(), namespace=("--mount-proc",), **keywords):
        unshare = ["unshare", "--pid", "--fork", "--mount", "--kill-child", *namespace]
        super().__init__(folder, *options, launcher=[*unshare, *launcher], **keywords)
        self.launcher_pid = self.process.pid
        self.pid = eventually(lambda: next((pid for pid, _ in children(self.launcher_pid)), None)
                              or (self.process.poll() is not None and -1))


@pytest.fixture
def pid1(tmp_path):
    """pid1("--init", entrypoint=[...]) starts one; whatever is left is killed at the end."""
    if os.geteuid() != 0:
        pytest.skip("namespaces need root")
    running = []

    def start(*options, kind=Pid1, **keywords):
        folder = tmp_path / f"execd{len(running)}"
        folder.mkdir()
        agent = kind(folder, *options, **keywords)
        running.append(agent)
        return agent

    yield start
    for agent in running:
        agent.close_clients()
        if agent.process.poll() is None:
            agent.process.kill()  # unshare --kill-child takes execd along, and the namespace with it
        agent.wait()


@pytest.fixture
def container_like():
    return ["setpriv", "--bounding-set", DROPPED_CAPS]


@pytest.fixture
def strace():
    path = shutil.which("strace")
    if path is None:
        pytest.skip("strace is not installed")
    return path


@pytest.fixture
def hung(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder = tmp_path / "hung"
    folder.mkdir()
    made = HungFileSystem(folder)
    yield made
    made.end()
