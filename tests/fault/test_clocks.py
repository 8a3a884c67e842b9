"""C15, N06: clocks that jump, and clocks that have run for long. execd's own clocks are ahead (wrap.c), nobody else's."""

import datetime
import json
import os
import sys
import time
from email.utils import parsedate_to_datetime

import pytest

from control import Faults
from harness.execd import BUILD, Execd, eventually, output_of, sse_events
from harness.kernels import FAKE, run, write_spec

EXECD = BUILD / "fault" / "execd"
DAY_S = 86400
YEARS_S = 20 * 365 * DAY_S
AHEAD_S = 3  # a limit lies so far in the future when execd starts


@pytest.fixture
def start(tmp_path):
    """start(wall_s, uptime_s): an execd whose clocks are ahead, and what moves them."""
    running = []

    def begin(**shift):
        faults = Faults(tmp_path)
        faults.shift(**shift)
        write_spec(tmp_path, "fake", [sys.executable, str(FAKE), "{connection_file}"])
        agent = Execd(tmp_path, "--kernel-dir", str(tmp_path / "run"), binary=EXECD,
                      env={"FAULT_CONTROL": str(faults.path), "JUPYTER_PATH": str(tmp_path),
                           "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0"})
        running.append(agent)
        return agent, faults

    yield begin
    for agent in running:
        assert agent.stop() == 0, "\n".join(agent.lines[-40:])


def stream(agent, command, on_output):
    """The events of a command; on_output(text) runs as each piece arrives."""
    events, buffer = [], ""
    with agent.client.stream("POST", "/command", json={"command": command}, timeout=30) as response:
        for piece in response.iter_text():
            buffer += piece
            while "\n\n" in buffer:
                block, _, buffer = buffer.partition("\n\n")
                events += sse_events(block + "\n\n")
                if events[-1]["type"] == "stdout":
                    on_output(events[-1]["text"].strip())
    return events


def durations(events):
    end = events[-1]
    return [end.get("execution_time", 0) * 1000, end["receipt"]["wall_us"]]


def test_C15_the_wall_clock_jumps_while_streams_run(start):
    agent, faults = start()
    jumps = {"1": -DAY_S, "2": 2 * DAY_S, "3": -YEARS_S}
    events = stream(agent, "for i in 1 2 3 4; do echo $i; sleep 0.2; done",
                    lambda text: faults.shift(wall_s=jumps.get(text, 0)))
    assert output_of(events).split() == ["1", "2", "3", "4"]
    assert events[-1]["type"] == "execution_complete"
    assert all(800000 <= duration < 20000000 for duration in durations(events)), events[-1]
    before, after = events[1]["timestamp"], events[-1]["timestamp"]
    assert abs(after - before) < 3600 * 1000  # it is back: told as the clock told it
    assert any(abs(event["timestamp"] - before) > DAY_S * 900 for event in events)


def test_C15_nothing_ends_or_is_forgotten_by_a_jump(start):
    agent, faults = start()
    ended = json.loads(agent.client.post("/command", json={"command": "echo kept", "background": True}).text.split("\n\n")[0])["text"]
    also = json.loads(agent.client.post("/command", json={"command": "echo newer", "background": True}).text.split("\n\n")[0])["text"]
    session = agent.client.post("/session", json={}).json()["session_id"]
    run(agent, "ok", "fake")
    contexts = {row["id"] for row in agent.client.get("/code/contexts").json()}
    eventually(lambda: not any(agent.client.get(f"/command/status/{c}").json()["running"] for c in (ended, also)))
    for jump in (YEARS_S, -YEARS_S, 0):
        faults.shift(wall_s=jump)
        agent.command("true")  # who ends makes room among those that have
        for command in (ended, also):
            status = agent.client.get(f"/command/status/{command}")
            assert status.status_code == 200 and status.json()["running"] is False, status.text
        assert agent.client.get(f"/command/{ended}/logs").text == "kept\n"
        answer = agent.client.post(f"/session/{session}/run", json={"command": "echo here"})
        assert output_of(sse_events(answer.text)) == "here\n"
        events = run(agent, "ok", "fake")
        assert all(0 <= duration < 20000000 for duration in durations(events)), events[-1]
        assert contexts == {row["id"] for row in agent.client.get("/code/contexts").json()}


@pytest.mark.parametrize("wall_s, uptime_s", [(2**31, 2**31 // 1000), (2**32, 2**32 // 1000), (2**32, 2**31)],
                         ids=["2038, 2^31 ms", "2106, 2^32 ms", "2106, 2^31 s"])
def test_N06_clocks_pass_their_limits(start, tmp_path, wall_s, uptime_s):
    """Wall clock and uptime pass the limits of 32 bits while a command runs."""
    agent, _ = start(wall_s=int(wall_s - AHEAD_S - time.time()),
                     uptime_s=int(uptime_s - AHEAD_S - time.clock_gettime(time.CLOCK_MONOTONIC)))
    run(agent, "ok", "fake")
    left_s = wall_s - agent.client.get("/metrics").json()["timestamp"] / 1000
    turns = max(0, int(left_s * 5)) + 3
    events = stream(agent, f"for i in $(seq {turns}); do echo $i; sleep 0.2; done", lambda text: None)
    assert output_of(events).split() == [str(number) for number in range(1, turns + 1)]
    times = [event["timestamp"] for event in events]
    assert times == sorted(times) and times[0] < wall_s * 1000 < times[-1], times
    assert all(turns * 200000 <= duration < 20000000 for duration in durations(events)), events[-1]
    ended = agent.command("sleep 60", timeout=300)[-1]["receipt"]
    assert ended["reason"] == "timeout" and 300000 <= ended["wall_us"] < 10000000
    assert run(agent, "ok", "fake")[-1]["type"] == "execution_complete"
    response = agent.client.get("/metrics")
    assert 0 <= response.json()["timestamp"] - wall_s * 1000 < 60000
    late = datetime.datetime.fromtimestamp(wall_s, datetime.timezone.utc)
    assert abs((parsedate_to_datetime(response.headers["Date"]) - late).total_seconds()) < 60
    assert all(entry["ts"][:4] in (str(late.year), str(late.year - 1)) for entry in agent.log)


@pytest.mark.parametrize("seconds", [2**31 - 1, 2**31, 2**32 - 1, 2**32, 2**33])
def test_N06_files_of_the_far_future(start, tmp_path, seconds):
    agent, _ = start()
    path = tmp_path / "late"
    path.write_text("x")
    os.utime(path, (seconds, seconds))
    if int(path.stat().st_mtime) != seconds:
        pytest.skip("this file system has no such times")
    wanted = datetime.datetime.fromtimestamp(seconds, datetime.timezone.utc)
    info = agent.client.get("/files/info", params={"path": str(path)}).json()[str(path)]
    assert info["modified_at"].startswith(wanted.strftime("%Y-%m-%dT%H:%M:%S"))
    response = agent.client.get("/files/download", params={"path": str(path)})
    assert parsedate_to_datetime(response.headers["Last-Modified"]) == wanted
