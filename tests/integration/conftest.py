"""Fixtures over a real execd."""

import pytest

from harness.execd import Execd, Leaks
from harness.kernels import make_specs
from harness.raw import RawConnection


@pytest.fixture
def execd(tmp_path):
    """A running execd with a token; checked for leaked descriptors, children and memory at the end."""
    with Execd(tmp_path) as agent:
        leaks = Leaks(agent)
        yield agent
        leaks.check()


@pytest.fixture
def start_execd(tmp_path):
    """Starts an execd with options of the test's own: start_execd("--grace", "2s", env={...})."""
    running = []

    def start(*options, **keywords):
        folder = tmp_path / f"execd{len(running)}"
        folder.mkdir()
        agent = Execd(folder, *options, **keywords)
        running.append(agent)
        return agent

    yield start
    for agent in running:
        if agent.process.poll() is None:
            agent.process.kill()
        agent.wait()


@pytest.fixture
def raw_http(execd):
    """Opens connections on which exact bytes are sent: with raw_http() as connection: ..."""
    opened = []

    def connect(limit_s=10):
        connection = RawConnection(execd.connect(), limit_s)
        opened.append(connection)
        return connection

    yield connect
    for connection in opened:
        connection.socket.close()


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    return make_specs(tmp_path_factory.mktemp("share"))


@pytest.fixture
def start_code(start_execd, specs, tmp_path):
    """Starts an execd with those kernels, and without any that wait ready: tests count processes."""

    def start(*options, env=None):
        runtime = tmp_path / "run"
        pool = () if "--kernel-pool" in options else ("--kernel-pool", "0")
        agent = start_execd("--kernel-dir", str(runtime), *pool, *options, env={"JUPYTER_PATH": str(specs), **(env or {})})
        agent.runtime = runtime
        running.append(agent)
        return agent

    running = []
    yield start
    for agent in running:
        agent.stop()


@pytest.fixture
def code(start_code):
    return start_code("--kernel-start-timeout", "20s", "--kernel-interrupt-grace", "1s")
