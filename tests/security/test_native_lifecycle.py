"""Nothing is left behind, nothing is lost: creation, crashes, limits and removal of native sandboxes."""

import os
import signal
import threading
import time
from pathlib import Path

import pytest
from harness.execd import eventually, fds
from harness.native_server import Server


def state_of(box):
    return box.get().json()["status"]["state"]


def test_create_and_delete_leave_nothing(server):
    def snapshot():
        return Path("/proc/self/mountinfo").read_text(), sorted(fds(server.process.pid).values()), server.leftovers()

    server.create("busybox").delete()  # opens what is opened once
    before = snapshot()
    for _ in range(5):
        server.create("busybox").delete()
    assert snapshot() == before


def test_a_failed_start_leaves_nothing(server, make_image):
    make_image("broken", lambda root: (root / "opt/opensandbox/execd").mkdir(parents=True))
    before = len(fds(server.process.pid)), server.leftovers()
    for _ in range(3):
        answer = server.try_create("broken")
        assert answer.status_code == 500 and "Is a directory" in answer.json()["message"]
    assert (len(fds(server.process.pid)), server.leftovers()) == before


@pytest.mark.parametrize("code, state, reason", [(0, "Terminated", "CONTAINER_EXITED"), (3, "Failed", "CONTAINER_EXITED_ERROR")])
def test_a_sandbox_ends_with_the_program_that_was_asked_for(server, code, state, reason):
    """contracts/server.md 9.1, 2.1: it stays listed, with what became of it, until it is deleted."""
    box = server.create("busybox", ("sh", "-c", f"while [ ! -e /go ]; do sleep 0.02; done; exit {code}"))
    assert state_of(box) == "Running"
    box.run("touch /go")
    eventually(lambda: state_of(box) != "Running")
    status = box.get().json()["status"]
    assert (status["state"], status["reason"]) == (state, reason)
    assert ("exited successfully" if code == 0 else f"exited with code {code}") in status["message"]
    box.delete()


def test_a_program_that_cannot_be_started_is_named(server):
    """The end may come before the answer or after it; both say why."""
    answer = server.try_create("busybox", ("/no/such/program",))
    if answer.status_code == 503:
        assert "/no/such/program" in answer.json()["message"]
    else:
        ident = answer.json()["id"]
        eventually(lambda: server.api("GET", f"/sandboxes/{ident}").json()["status"]["state"] == "Failed")
        assert "code 127" in server.api("GET", f"/sandboxes/{ident}").json()["status"]["message"]
        server.api("DELETE", f"/sandboxes/{ident}")


def test_unknown_image_names_what_there_is(server):
    answer = server.try_create("no-such-image")
    assert answer.status_code == 404
    assert "busybox" in answer.json()["message"] and "image build" in answer.json()["message"]


def test_L23_a_killed_server_finds_its_sandboxes(tmp_path, busybox):
    with Server(tmp_path) as server:
        server.add_image("busybox", busybox)
        box = server.create("busybox")
        box.run("echo kept > /root/file")
        pid = box.pid
        server.kill()
        assert Path(f"/proc/{pid}").exists(), "the sandbox lives on"
        server.start()
        again = type(box)(server, {"id": box.id})
        assert again.pid == pid and again.run("cat /root/file").stdout == "kept\n"
        again.delete()
        assert server.leftovers() == []
        eventually(lambda: not Path(f"/proc/{pid}").exists())


def test_L23_an_exit_while_the_server_was_away_is_seen(tmp_path, busybox):
    with Server(tmp_path) as server:
        server.add_image("busybox", busybox)
        box = server.create("busybox")
        server.kill()
        os.kill(box.pid, signal.SIGKILL)
        eventually(lambda: not Path(f"/proc/{box.pid}/root/bin").exists())
        server.start()
        assert server.api("GET", f"/sandboxes/{box.id}").json()["status"]["state"] in ("Failed", "Terminated")
        server.api("DELETE", f"/sandboxes/{box.id}")
        assert server.leftovers() == []


@pytest.mark.parametrize("delay_ms", [1, 3, 6, 10, 20])
def test_L23_a_server_killed_during_creation_cleans_up_at_start(tmp_path, busybox, delay_ms):
    with Server(tmp_path) as server:
        server.add_image("busybox", busybox)

        def create():
            try:
                server.try_create("busybox")
            except Exception:  # the connection dies with the server
                pass

        thread = threading.Thread(target=create)
        thread.start()
        time.sleep(delay_ms / 1000)
        server.kill()
        thread.join()
        server.start()
        listed = server.api("GET", "/sandboxes").json()["items"]
        for item in listed:
            server.api("DELETE", f"/sandboxes/{item['id']}")
        eventually(lambda: server.leftovers() == [], message="something of the half-made sandbox is left")


def test_L24_removal_with_many_processes(server):
    box = server.create("busybox", limits={})
    box.run("i=0; while [ $i -lt 1000 ]; do (trap '' TERM HUP; sleep 1000) & i=$((i+1)); done >/dev/null 2>&1")
    started = time.monotonic()
    box.delete()
    assert time.monotonic() - started < 10
    assert box.folder.exists() is False


def test_L24_removal_of_a_deep_and_stubborn_tree(server):
    box = server.create("busybox")
    box.run("cd /tmp; i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; touch end; chmod 000 /tmp/d")
    box.delete()
    assert box.folder.exists() is False


def test_L24_removal_of_a_frozen_group(server):
    """execd freezes a leaf to kill it; killed itself in between, it leaves the leaf frozen."""
    box = server.create("busybox")
    box.run("sleep 1000 &")
    frozen = [file for path in box.state["groups"] for file in Path(path).glob("work/entrypoint-*/freezer.state")]
    frozen = [path for path in frozen if path.exists()]
    if not frozen:
        pytest.skip("no v1 freezer on this host")
    frozen[0].write_text("FROZEN")
    box.delete()
    assert server.leftovers() == []


def test_an_exit_behind_a_frozen_leaf_is_noticed(server):
    box = server.create("busybox")
    frozen = [file for path in box.state["groups"] for file in Path(path).glob("work/entrypoint-*/freezer.state")]
    frozen = [path for path in frozen if path.exists()]
    if not frozen:
        pytest.skip("no v1 freezer on this host")
    frozen[0].write_text("FROZEN")
    os.kill(box.pid, signal.SIGKILL)
    eventually(lambda: state_of(box) in ("Failed", "Terminated"))
    box.delete()


def test_an_exit_is_noticed(server):
    box = server.create("busybox")
    os.kill(box.pid, signal.SIGKILL)
    eventually(lambda: state_of(box) in ("Failed", "Terminated"))
    box.delete()


def test_limits_are_set(server):
    box = server.create("busybox", limits={"memory": "128Mi", "cpu": "500m"})
    groups = {path.split("/")[4]: Path(path) for path in box.state["groups"]}
    if "memory" not in groups:
        pytest.skip("the controllers are in cgroup2 here")
    assert (groups["memory"] / "memory.limit_in_bytes").read_text().strip() == str(128 << 20)
    assert (groups["cpu"] / "cpu.cfs_quota_us").read_text().strip() == "50000"
    assert (groups["pids"] / "pids.max").read_text().strip() == "4096"
    box.delete()


def test_A13_a_memory_hog_does_not_take_execd_along(server):
    box = server.create("busybox", limits={"memory": "64Mi"})
    box.run("head -c 200000000 /dev/zero | tail > /dev/null", timeout_s=60)
    assert box.run("echo alive").stdout == "alive\n"
    box.run("dd if=/dev/zero of=/dev/shm/fill bs=1M count=60 2>/dev/null; true")
    assert box.ping() == 200
    box.delete()


def test_A12_init_is_not_offered_to_the_oom_killer(server):
    box = server.create("busybox", limits={"memory": "64Mi"})
    assert box.run("echo 1000 > /proc/1/oom_score_adj").code != 0
    hog = box.run("head -c 200000000 /dev/zero | tail > /dev/null", timeout_s=60)
    assert hog.code != 0
    assert box.run("echo alive").stdout == "alive\n"
    box.delete()


def test_A15_descriptors_and_ipc_run_out_for_the_workload_alone(server):
    box = server.create("busybox", limits={"memory": "128Mi", "pids": "300"})
    # Each holds what it could get while the next takes its share.
    box.run("i=3; while eval \"exec $i</dev/null\" 2>/dev/null; do i=$((i+1)); [ $i -gt 5000 ] && break; done; "
            "sleep 2 & for n in $(seq 200); do sleep 2 & done; true", timeout=20000)
    assert box.ping() == 200
    assert box.run("echo alive").stdout == "alive\n"
    box.delete()


def test_A14_a_fork_bomb_stays_inside(server):
    box = server.create("busybox", limits={"pids": "300"})
    box.run("bomb() { bomb | bomb & }; bomb; sleep 1; true", timeout=3000)
    assert box.ping() == 200
    box.delete()


@pytest.mark.parametrize("limits, word", [({"memory": "1Mi"}, "memory"), ({"cpu": "1m"}, "cpu")])
def test_limits_that_cannot_work_are_refused(server, limits, word):
    answer = server.try_create("busybox", limits=limits)
    assert answer.status_code in (400, 422) and word in answer.json()["message"]
    assert server.leftovers() == []


def test_the_log_is_bounded(server):
    box = server.create("busybox", ["sh", "-c", "while :; do head -c 65536 /dev/zero; sleep 0.002; done"])
    log = box.folder / "execd.log"
    eventually(lambda: log.stat().st_size > 4 << 20)
    eventually(lambda: log.stat().st_size < 4 << 20)
    box.delete()
