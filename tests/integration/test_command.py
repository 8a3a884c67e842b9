"""POST /command, DELETE /command, GET /command/status: what runs, how it ends, what is refused (hardening B)."""

import concurrent.futures
import json
import os
import signal
import threading
import time

import pytest

from harness.execd import children, eventually, output_of, sse_events
from harness.patience import PATIENCE_S


def terminal(events):
    """The one terminal event, which is the last."""
    ends = [e for e in events if e["type"] in ("error", "execution_complete")]
    assert len(ends) == 1, events
    assert events[-1] is ends[0]
    return ends[0]


def refused(execd, status=400, **body):
    response = execd.client.post("/command", json=body)
    assert response.status_code == status, response.text
    error = response.json()
    assert error["code"] and error["message"]
    return error


def alive(marker):
    """Processes whose command line holds the marker."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if marker.encode() in file.read() and int(pid) != os.getpid():
                    found.append(int(pid))
        except OSError:
            pass
    return found


def test_framing_byte_for_byte(execd):
    response = execd.client.post("/command", json={"command": "echo hi"})
    assert response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache"
    blocks = response.text.split("\n\n")
    assert blocks[-1] == ""
    first = json.loads(blocks[0])
    assert list(first) == ["type", "text", "timestamp"] and first["type"] == "init" and len(first["text"]) == 32
    assert [json.loads(b)["type"] for b in blocks[:-1]] == ["init", "ping", "stdout", "execution_complete"]
    assert blocks[2].startswith('{"type":"stdout","text":"hi\\n","timestamp":')


def test_standard_framing_on_request(execd):
    response = execd.client.post("/command?sse=standard", json={"command": "echo hi"})
    assert "event: stdout\n" in response.text and "data: {" in response.text and "id: 1.0.0\n" in response.text and "id: 2.3.0\n" in response.text
    assert output_of(sse_events(response.text)) == "hi\n"


def test_B07_exit_codes(execd):
    for code in [*range(0, 256, 17), 1, 2, 126, 127, 128, 254, 255]:
        end = terminal(execd.command(f"exit {code}"))
        if code == 0:
            assert end["type"] == "execution_complete"
        else:
            assert end["error"]["ename"] == "CommandExecError"
            assert end["error"]["evalue"] == str(code)
            assert end["error"]["traceback"][0] == f"exit status {code}"


@pytest.mark.parametrize("signum, text", [(signal.SIGKILL, "killed"), (signal.SIGTERM, "terminated"),
                                          (signal.SIGSEGV, "segmentation fault"), (signal.SIGHUP, "hangup")])
def test_B07_signals(execd, signum, text):
    error = terminal(execd.command(f"kill -{int(signum)} $$"))["error"]
    assert error["evalue"] == "-1"
    assert error["traceback"][0].startswith(f"signal: {text}")


def test_status_tells_the_truth(execd):
    events = execd.command("exit 3")
    status = execd.client.get(f"/command/status/{events[0]['text']}").json()
    assert status["running"] is False and status["exit_code"] == 3 and status["error"] == "exit status 3"
    assert status["content"] == "exit 3" and status["started_at"].endswith("Z") and status["finished_at"].endswith("Z")
    assert list(status) == ["id", "content", "running", "exit_code", "error", "started_at", "finished_at", "receipt"]


def test_B18_unknown_status_is_404(execd):
    response = execd.client.get("/command/status/" + "0" * 32)
    assert response.status_code == 404
    assert response.json()["code"] == "INVALID_REQUEST_BODY" and "command not found: " in response.json()["message"]


def test_argv_needs_no_shell(execd):
    events = execd.command(argv=["printf", "%s|", "a b", "$HOME", ""])
    assert output_of(events) == "a b|$HOME||"
    status = execd.client.get(f"/command/status/{events[0]['text']}").json()
    assert isinstance(status["content"], str) and status["content"]


def test_B16_missing_program_is_an_event(execd):
    end = terminal(execd.command(argv=["no-such-program-here"]))
    assert end["error"]["ename"] == "CommandExecError"
    assert end["error"]["traceback"][0] == end["error"]["evalue"]
    assert "no-such-program-here" in end["error"]["evalue"]


def test_B16_not_executable(execd, tmp_path):
    plain = tmp_path / "plain"
    plain.write_text("echo hi\n")
    assert "ermission" in terminal(execd.command(argv=[str(plain)]))["error"]["evalue"]


@pytest.mark.parametrize("body", [
    {}, {"command": ""}, {"command": None}, {"argv": []}, {"argv": [""]}, {"command": "true", "argv": ["true"]},
    {"command": 5}, {"command": "true", "timeout": -1}, {"command": "true", "timeout": 1.5},
    {"command": "true", "timeout": "5"}, {"command": "true", "timeout": 1e308}, {"command": "true", "gid": 0},
    {"command": "true", "uid": -1}, {"command": "true", "uid": 2 ** 32}, {"command": "true", "envs": []},
    {"command": "true", "envs": {"A=B": "x"}}, {"command": "true", "envs": {"": "x"}},
    {"command": "true", "envs": {"A": 1}}, {"command": "true", "background": "yes"}, {"argv": ["a\0b"]},
    {"command": "echo a\0b"}, {"command": "true", "cwd": "/\0"}, {"command": "true", "envs": {"A": "x\0y"}},
    {"command": "true", "timeout": 2 ** 63}, {"command": "true", "timeout": 2 ** 64},
    {"command": "true", "timeout": True}, {"argv": "true"}, {"argv": [1]}, {"command": "x" * (2 * 1024 * 1024 + 1)},
])
def test_B08_B09_B10_bad_bodies(execd, body):
    assert refused(execd, **body)["code"] == "INVALID_REQUEST_BODY"


def test_bodies_that_are_no_json(execd):
    for raw in (b"", b"{", b"[]", b'{"command":"a","command":"b"}', b'{"command":"a"} x', b"\xff", b'"x"',
                b'{"command":"\xff"}', b'{"command":"echo \\ud800"}', b"[" * 100000):
        response = execd.client.post("/command", content=raw)
        assert response.status_code == 400, raw[:20]
        assert response.json()["message"].startswith("error parsing request, MAYBE invalid body format. ")


def test_B09_large_command(execd):
    padding = "x" * 100_000
    assert output_of(execd.command(f"echo ok # {padding}")) == "ok\n"
    end = terminal(execd.command("true # " + "x" * 1_500_000))
    assert "too long" in end["error"]["evalue"].lower()  # E2BIG, typed


def test_B18_long_commands_are_remembered_within_a_bound(start_execd):
    agent = start_execd()
    text = ": " + "x" * 2_000_000  # longer than the kernel takes
    idents = [agent.command(text)[0]["text"] for _ in range(30)]
    known = [agent.client.get(f"/command/status/{ident}").status_code for ident in idents]
    assert known == sorted(known, reverse=True) and known.count(200) == 16  # 32 MiB, the newest
    assert agent.client.get(f"/command/status/{idents[-1]}").json()["content"] == text


def test_B08_long_timeouts_are_taken(execd):
    for timeout in (0, 2 ** 31, 2 ** 32):
        assert terminal(execd.command("true", timeout=timeout))["type"] == "execution_complete"
    assert terminal(execd.command("sleep 5", timeout=1))["error"]["evalue"] == "-1"


def test_nulls_mean_absent(execd):
    events = execd.command("echo ok", cwd=None, envs=None, timeout=None, uid=None, gid=None, background=None, argv=None)
    assert output_of(events) == "ok\n"


def test_environment_and_cwd(execd, tmp_path):
    (tmp_path / "sub").mkdir()
    events = execd.command('echo "$A-$B"; pwd', envs={"A": "1", "B": "x y", "WHERE": str(tmp_path)}, cwd="$WHERE/sub")
    assert output_of(events) == f"1-x y\n{tmp_path}/sub\n"


def test_B11_bad_cwd(execd, tmp_path):
    (tmp_path / "file").write_text("")
    assert "does not exist" in refused(execd, command="true", cwd=str(tmp_path / "missing"))["message"]
    assert "not a directory" in refused(execd, command="true", cwd=str(tmp_path / "file"))["message"]
    assert "UNDEFINED_NAME" in refused(execd, command="true", cwd="$UNDEFINED_NAME/x")["message"]


@pytest.mark.skipif(os.getuid() != 0, reason="switching users needs root")
def test_B12_other_user(execd):
    events = execd.command("id -u; id -g; id -G", uid=65534, gid=65534, cwd="/")
    lines = output_of(events).split("\n")
    assert lines[:2] == ["65534", "65534"] and "0" not in lines[2].split()


@pytest.mark.skipif(os.getuid() != 0, reason="switching users needs root")
def test_B12_unknown_user_gets_no_groups(execd):
    assert output_of(execd.command("id -u; id -g; id -G", uid=54321, gid=54322, cwd="/")) == "54321\n54322\n54322\n"
    assert output_of(execd.command("id -u; id -G", uid=54321, cwd="/")) == "54321\n0\n"  # as the contract has it


def test_B12_own_user_needs_no_privilege(execd):
    assert output_of(execd.command("id -u", uid=os.getuid(), gid=os.getgid())).strip() == str(os.getuid())


def test_B15_stdin_is_empty(execd):
    assert output_of(execd.command("cat; echo end")) == "end\n"


def test_B03_grandchild_cannot_hold_the_stream(execd):
    events = execd.command("echo out; sleep 987654 & exit 0")  # which no client waits for
    assert output_of(events) == "out\n" and terminal(events)["type"] == "execution_complete"
    for pid in alive("987654"):
        os.kill(pid, signal.SIGKILL)


def test_timeout_kills_the_whole_tree(execd):
    events = execd.command("setsid sleep 876543 & sleep 876543", timeout=300)
    error = terminal(events)["error"]
    assert error["evalue"] == "-1" and error["traceback"] == ["signal: killed", "timeout after 300 ms"]
    eventually(lambda: not alive("876543"), message="the tree outlives its timeout")


def test_B02_fork_race_against_the_killer(execd):
    program = "f() { sleep 765432 & g; }; g() { sleep 765432 & }; while :; do f; sleep 0.001; done"
    terminal(execd.command(program, timeout=300))
    eventually(lambda: not alive("765432"), message="forks outlive the kill")


def test_B02_two_agents_leave_each_other_alone(start_execd):
    """Without a pid namespace between them both see all processes; each kills its own trees only."""
    first, second = start_execd(), start_execd()
    _, future = start_in_thread(first, command="sleep 2")
    for _ in range(3):
        assert terminal(second.command("sleep 30", timeout=20))["error"]["traceback"][0] == "signal: killed"
    assert terminal(future.result(PATIENCE_S))["type"] == "execution_complete"


def start_in_thread(execd, **body):
    """Starts a command and returns (its id, future of all its events)."""
    ready = threading.Event()
    events = []

    def run():
        with execd.new_client() as client, client.stream("POST", "/command", json=body) as response:
            text = ""
            for piece in response.iter_text():
                text += piece
                if not ready.is_set() and "\n\n" in text:
                    events.append(json.loads(text.split("\n\n")[0]))
                    ready.set()
            return sse_events(text)

    future = concurrent.futures.ThreadPoolExecutor(1).submit(run)
    assert ready.wait(PATIENCE_S)
    return events[0]["text"], future


def test_interrupt_ends_the_stream(execd):
    ident, future = start_in_thread(execd, command="sleep 654321")
    assert execd.client.get(f"/command/status/{ident}").json()["running"] is True
    assert execd.client.delete("/command", params={"id": ident}).status_code == 200
    error = terminal(future.result(PATIENCE_S))["error"]
    assert error["evalue"] == "-1" and error["traceback"][0] == "signal: terminated"
    again = execd.client.delete("/command", params={"id": ident})
    assert again.status_code == 500 and "is not running" in again.json()["message"]


def test_interrupt_of_nothing(execd):
    assert execd.client.delete("/command").status_code == 400
    response = execd.client.delete("/command", params={"id": "nope"})
    assert response.status_code == 500 and "no such session" in response.json()["message"]


def test_interrupt_of_one_that_ignores_it(start_execd, tmp_path):
    agent = start_execd()
    ident, future = start_in_thread(agent, command=f"trap '' TERM; : >{tmp_path}/trapped; while :; do sleep 0.1; done")
    eventually((tmp_path / "trapped").exists)
    started = time.monotonic()
    assert agent.client.delete("/command", params={"id": ident}).status_code == 200
    assert time.monotonic() - started > 2  # and it was dead within its time, or it would not be 200
    assert terminal(future.result(PATIENCE_S))["error"]["traceback"] == ["signal: killed", "interrupted"]


def test_B01_interrupt_ends_the_whole_tree(start_execd):
    """The leader obeys at once; what ignores SIGTERM is killed when the grace is over."""
    agent = start_execd()
    stubborn = "trap '' TERM; echo ready; sleep 321098"
    ident, future = start_in_thread(agent, command=f'setsid sh -c "{stubborn}" & wait')
    eventually(lambda: len(alive("321098")) >= 2)
    started = time.monotonic()
    assert agent.client.delete("/command", params={"id": ident}).status_code == 200
    assert terminal(future.result(PATIENCE_S))["error"]["traceback"][0] == "signal: terminated"
    assert time.monotonic() - started < 2.5
    eventually(lambda: not alive("321098"), message="a part of the tree outlives the interrupt")


def test_background_that_cannot_start_says_so(execd):
    events = execd.command(argv=["no-such-program-here"], background=True)
    assert [e["type"] for e in events] == ["init", "ping", "error"]
    status = execd.client.get(f"/command/status/{events[0]['text']}").json()
    assert status["running"] is False and status["exit_code"] == 255


def test_background_survives_a_reset_after_its_ticket(execd, tmp_path):
    """Clients close the connection at the first execution_complete."""
    marker = tmp_path / "done"
    body = {"command": f"sleep 0.3; touch {marker}", "background": True}
    with execd.new_client() as client, client.stream("POST", "/command", json=body) as response:
        for piece in response.iter_text():
            if "execution_complete" in piece:
                break
    eventually(marker.exists)


def test_B20_two_interrupts_at_once(execd):
    ident, future = start_in_thread(execd, command="sleep 543210")
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        codes = list(pool.map(lambda _: execd.client.delete("/command", params={"id": ident}).status_code, range(2)))
    assert codes.count(200) >= 1 and set(codes) <= {200, 500}
    terminal(future.result(PATIENCE_S))


def test_background_answers_at_once(execd, tmp_path):
    os.mkfifo(tmp_path / "gate")
    events = execd.command(f"read x <{tmp_path}/gate; exit 5", background=True)
    assert [e["type"] for e in events] == ["init", "ping", "execution_complete"]
    url = f"/command/status/{events[0]['text']}"
    assert execd.client.get(url).json()["running"] is True
    (tmp_path / "gate").write_text("\n")
    eventually(lambda: not execd.client.get(url).json()["running"])
    assert execd.client.get(url).json()["exit_code"] == 5


def test_B05_interrupt_races_with_exit(execd):
    for _ in range(60):
        ident, future = start_in_thread(execd, command="sleep 0.01")
        execd.client.delete("/command", params={"id": ident})
        terminal(future.result(PATIENCE_S))


def test_B06_many_sequential_and_concurrent(execd):
    for i in range(150):
        assert output_of(execd.command(f"echo {i}; exit 0")) == f"{i}\n"
    clients = threading.local()

    def one(i):
        if not hasattr(clients, "client"):
            clients.client = execd.new_client()
        return sse_events(clients.client.post("/command", json={"command": f"sleep 0.2; echo {i}; exit {i % 5}"}).text)

    with concurrent.futures.ThreadPoolExecutor(100) as pool:
        for i, events in enumerate(pool.map(one, range(100))):
            end = terminal(events)
            assert output_of(events) == f"{i}\n"
            assert (end["type"] == "execution_complete") == (i % 5 == 0)
    eventually(lambda: not [c for c in children(execd.pid) if c[1] == "Z"], message="zombies are left")


def test_shutdown_gives_running_streams_their_end(start_execd):
    agent = start_execd("--grace", "2s")
    _, future = start_in_thread(agent, command="sleep 432109")
    agent.send_signal(signal.SIGTERM)
    error = terminal(future.result(PATIENCE_S))["error"]
    assert error["traceback"] == ["signal: terminated", "the agent is shutting down"]


def test_shutdown_with_many_commands_stays_in_time(start_execd):
    """Ending one command must not cost a walk through all processes."""
    agent = start_execd("--grace", "3s")
    for _ in range(150):
        agent.command("exec sleep 210987", background=True)
    started = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - started < 8
    assert not alive("210987")
