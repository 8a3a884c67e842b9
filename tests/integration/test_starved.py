"""N04: execd and its kernels with next to no CPU: slow, correct, and no timeout that nobody asked for."""

import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness.execd import eventually, output_of, sse_events
from harness.kernels import assert_error, create, results, run

PERIOD_US = 100000


class Quota:
    """A control group for the CPU alone, in either version."""

    def __init__(self):
        mount = next((Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()
                      if " - cgroup " in line and "cpu" in line.split()[-1].split(",")), None)
        self.is_v1 = mount is not None
        unified = Path("/sys/fs/cgroup")
        if not self.is_v1 and "cpu" not in (unified / "cgroup.subtree_control").read_text().split():
            pytest.skip("no control group for the CPU")
        self.folder = (mount or unified) / f"starved-{uuid.uuid4().hex[:8]}"
        self.folder.mkdir()

    def set(self, share):
        """Of one CPU; None: as much as there is."""
        quota = None if share is None else int(share * PERIOD_US)
        if self.is_v1:
            (self.folder / "cpu.cfs_quota_us").write_text("-1" if quota is None else str(quota))
        else:
            (self.folder / "cpu.max").write_text(f"{'max' if quota is None else quota} {PERIOD_US}")

    def throttled(self):
        fields = dict(line.split() for line in (self.folder / "cpu.stat").read_text().splitlines())
        return int(fields["nr_throttled"])

    def remove(self):
        def gone():
            try:
                os.rmdir(self.folder)
            except OSError:
                return False
            return True

        eventually(gone, message=f"{self.folder} is still in use")


@pytest.fixture
def quota():
    if os.geteuid() != 0:
        pytest.skip("control groups need root")
    try:
        made = Quota()
    except OSError as error:
        pytest.skip(f"no control group can be made: {error}")
    yield made
    made.remove()


@pytest.fixture
def starved(quota, start_execd, specs, tmp_path):
    """starved(options): an execd in such a group, started while it had all the CPU."""
    running = []

    def start(*options):
        agent = start_execd("--kernel-dir", str(tmp_path / "run"), "--kernel-pool", "0", *options,
                            env={"JUPYTER_PATH": str(specs)},
                            launcher=["/bin/sh", "-c", f'echo 0 > {quota.folder}/cgroup.procs; exec "$@"', "sh"])
        agent.stalls_matter = False  # it is meant to be late
        running.append(agent)
        agent.client.get("/ping")
        return agent

    yield start
    quota.set(None)
    for agent in running:
        agent.stop()


def test_N04_commands_at_one_percent(starved, quota):
    agent = starved()
    quota.set(0.01)

    def one(number):
        with agent.new_client(timeout=60) as client:
            events = sse_events(client.post("/command", json={"command": f"echo {number}; exit {number}"}).text)
        last = events[-1]
        return output_of(events), int(last["error"]["evalue"]) if last["type"] == "error" else 0

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(8))) == [(f"{number}\n", number) for number in range(8)]
    assert agent.client.get("/ping").status_code == 200
    ended = agent.command("sleep 60", timeout=500)[-1]
    assert ended["receipt"]["reason"] == "timeout" and ended["receipt"]["wall_us"] >= 500000
    assert quota.throttled() > 0


def test_N04_cells_at_one_percent(starved, quota):
    agent = starved()
    run(agent, "1")
    quota.set(0.01)
    run(agent, "x = 40")
    assert results(run(agent, "x + 2"))[0]["text"] == "42"
    events = run(agent, "for i in range(3): print(i)")
    assert output_of(events) == "0\n1\n2\n" and output_of(events, "stderr") == ""
    assert quota.throttled() > 0


def test_N04_a_kernel_may_start_slowly_when_it_has_no_cpu(starved, quota):
    """Its time to start counts for one that does nothing; that one ends as ever."""
    agent = starved("--zygote", "off", "--kernel-start-timeout", "1s")
    quota.set(0.08)
    assert create(agent)["state"] == "idle"
    refused = agent.client.post("/code/context", json={"language": "mute"}, timeout=60)
    assert_error(refused, 500, "RUNTIME_ERROR", "not ready after 1000 ms")
    assert quota.throttled() > 10


def test_N04_what_is_owed_is_waited_for_while_somebody_works(code):
    """An idle that is late because the process had no rest is no idle that was lost."""
    events = run(code, "idle_after_work", "fake")
    assert output_of(events) == "late\n" and output_of(events, "stderr") == ""
    assert events[-1]["type"] == "execution_complete"
