"""N05: a loop that stands still is seen, in the log and in the metrics."""

import shutil

import pytest

from harness.execd import Execd, check_stalls, children

TEXT = {"Accept": "text/plain"}


def metric(agent, name):
    text = agent.client.get("/metrics", headers=TEXT).text
    return float(next(line for line in text.splitlines() if line.startswith(name + " ")).split()[-1])


def test_N05_a_healthy_loop_has_no_stall(execd):
    execd.command("echo hello")
    assert metric(execd, "execd_loop_stalls_total") == 0
    assert 0 < metric(execd, "execd_loop_delay_max_seconds") < 1
    text = execd.client.get("/metrics", headers=TEXT).text
    counts = [int(line.split()[-1]) for line in text.splitlines()
              if line.startswith("execd_loop_delay_seconds_bucket")]
    assert counts == sorted(counts) and counts[-1] > 0
    assert not [entry for entry in execd.log if entry.get("module") == "loop"]


def test_N05_a_stall_is_told_with_its_route(tmp_path):
    """A system call of one handler that takes 1.2 s: what any disk could do."""
    if shutil.which("strace") is None:
        pytest.skip("strace is not installed")
    slow = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=getdents64",
            "-e", "inject=getdents64:delay_enter=1200000:when=1"]
    with Execd(tmp_path, launcher=slow) as agent:
        agent.stalls_matter = False
        agent.wait_log(msg="listening")
        agent.pid = children(agent.process.pid)[0][0]  # not strace's, nor that of a child it tries itself on
        agent.client.get("/metrics", headers=TEXT)
        told = agent.wait_log(msg="the loop was held up")
        assert told["level"] == "warn" and told["longest"] == "GET /metrics"
        assert 1200 <= int(told["longest_ms"]) <= int(told["ms"])
        assert metric(agent, "execd_loop_stalls_total") == 1
        assert metric(agent, "execd_loop_delay_max_seconds") >= 1.2
        agent.client.get("/ping")
        assert len([entry for entry in agent.log if entry.get("module") == "loop"]) == 1
        with pytest.raises(AssertionError):
            check_stalls(agent.log)
