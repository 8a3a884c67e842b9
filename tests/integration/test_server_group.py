"""Where the server makes the control groups of its sandboxes."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from harness.execd import eventually
from harness.patience import PATIENCE_S

ROOT = Path(__file__).resolve().parents[2]
SERVER = Path(os.environ.get("BUILD", ROOT / "build")).resolve() / "execd-server"
PARENT = f"execd-test-{os.getpid()}"

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def own_group2():
    """Our own cgroup2 group as a folder."""
    line = next((line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::")), None)
    for mount in Path("/proc/self/mountinfo").read_text().splitlines():
        before, after = mount.split(" - ")
        if after.split()[0] == "cgroup2" and line:
            return Path(before.split()[4] + line[3:])
    return None


def remove_groups(top):
    for folder, *_ in os.walk(top, topdown=False):
        os.rmdir(folder)


@pytest.fixture
def service_group():
    """A group with the leaf `server`, as a service manager makes it."""
    own = own_group2()
    if own is None:
        pytest.skip("no cgroup2 is mounted")
    group = own / f"{PARENT}.service"
    try:
        (group / "server").mkdir(parents=True)
    except OSError as error:
        pytest.skip(f"cgroup2 groups cannot be made: {error}")
    yield group
    remove_groups(group)
    for made in Path("/sys/fs/cgroup").glob(f"**/{PARENT}"):
        remove_groups(made)


def start(group, tmp_path):
    """A listening server that was put into the leaf before it began."""
    config = tmp_path / "server.toml"
    config.write_text(f'[runtime]\nstate_dir = "{tmp_path}/state"\n[native]\ncgroup_parent = "{PARENT}"\n')
    log = tmp_path / "log"
    with log.open("wb") as out:
        server = subprocess.Popen(
            ["/bin/sh", "-c", 'echo $$ >"$0/server/cgroup.procs" && exec "$@"', str(group), str(SERVER), "-c", str(config),
             "--port", "0"], stderr=out)
    eventually(lambda: b'"listening"' in log.read_bytes() or server.poll() is not None)
    assert server.poll() is None, log.read_text()
    return server


def stop(server):
    server.send_signal(signal.SIGTERM)
    assert server.wait(PATIENCE_S) == 0


def test_the_leaf_stays_a_leaf(service_group, tmp_path):
    """Twice, because a second start must be able to join the leaf."""
    for _ in range(2):
        server = start(service_group, tmp_path)
        try:
            assert str(server.pid) in (service_group / "server/cgroup.procs").read_text().split()
            assert [p.name for p in (service_group / "server").iterdir() if p.is_dir()] == []
            assert (service_group / PARENT).is_dir()
        finally:
            stop(server)
