"""The sandbox's own cgroup, handed to execd as open directories (design decision 19)."""

import json
import os
import uuid
from pathlib import Path

import pytest

from harness.execd import Execd, children, eventually, output_of, sse_events
from harness.kernels import create, error_of, make_specs, results, run

V1 = ("memory", "pids", "freezer", "cpuacct")
MEMORY = 256 << 20


def mounts():
    """Folder of this process's own group, by hierarchy: v1 controllers and "unified"."""
    points = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ")[:3]
        for name in V1 if kind == "cgroup" else ():
            if name in options.split(","):
                points[name] = Path(left.split()[4])
        if kind == "cgroup2":
            points["unified"] = Path(left.split()[4])
    return points


@pytest.fixture
def sandbox_groups():
    """A group in every hierarchy there is, removed with everything below at the end."""
    points = mounts()
    name = f"handover-{uuid.uuid4().hex[:8]}"
    made = {}
    try:
        for controller, point in points.items():
            folder = point / name
            try:
                folder.mkdir()
            except OSError as error:
                pytest.skip(f"cgroup {controller} cannot be made: {error}")
            made[controller] = folder
        if "unified" in made and "memory" not in made:
            (made["unified"].parent / "cgroup.subtree_control").write_text("+memory +pids")
        if not made:
            pytest.skip("no cgroup file system")
        yield made
    finally:
        for folder in made.values():
            for below, _, _ in os.walk(folder, topdown=False):
                eventually(lambda path=below: remove(path), message=f"{below} is still in use")


def remove(path):
    try:
        os.rmdir(path)
        return True
    except OSError:
        return False


def limit(groups):
    if "memory" in groups:
        (groups["memory"] / "memory.limit_in_bytes").write_text(str(MEMORY))
        (groups["pids"] / "pids.max").write_text("100")
    else:
        (groups["unified"] / "memory.max").write_text(str(MEMORY))
        (groups["unified"] / "pids.max").write_text("100")


def start_in(tmp_path, groups, **keywords):
    """execd as the runtime would start it: member of the groups, their directories open."""
    opened = {name: os.open(folder, os.O_RDONLY | os.O_DIRECTORY) for name, folder in groups.items()}
    words = [f"{name}:{fd}" + ("+v2" if name == "unified" else "") for name, fd in opened.items()]
    if "unified" in opened and "memory" not in opened:
        words += [f"{name}:{opened['unified']}+v2" for name in ("cpu", "memory", "pids", "io")]
    join = "; ".join(f"echo 0 > {folder}/cgroup.procs" for folder in groups.values())
    env = {"EXECD_CGROUP_FDS": ",".join(words), **keywords.pop("env", {})}
    try:
        return Execd(tmp_path, launcher=["/bin/sh", "-c", f'{join}; exec "$@"', "sh"], pass_fds=tuple(opened.values()),
                     env=env, **keywords)
    finally:
        for fd in opened.values():
            os.close(fd)


def members(folder):
    return [int(pid) for pid in (folder / "cgroup.procs").read_text().split()]


def test_execd_makes_room_for_itself_and_its_children(tmp_path, sandbox_groups):
    limit(sandbox_groups)
    with start_in(tmp_path, sandbox_groups, entrypoint=["sleep", "1000"]) as agent:
        agent.wait_log(msg="listening")
        assert agent.wait_log(msg="execd")["cgroup"].startswith("handed cgroup")
        child = eventually(lambda: children(agent.pid))[0][0]
        for folder in sandbox_groups.values():
            assert members(folder) == []
            # The child begins in its parent's group and joins its own before the exec.
            eventually(lambda folder=folder: members(folder / "work/entrypoint-1") == [child])
            assert members(folder / "init") == [agent.pid]
        memory = sandbox_groups.get("memory") or sandbox_groups["unified"]
        name = "memory.limit_in_bytes" if "memory" in sandbox_groups else "memory.max"
        assert int((memory / "work" / name).read_text()) == MEMORY - (8 << 20)
        pids = sandbox_groups.get("pids") or sandbox_groups["unified"]
        assert int((pids / "work/pids.max").read_text()) == 92


def test_the_variable_and_the_descriptors_are_gone(tmp_path, sandbox_groups):
    with start_in(tmp_path, sandbox_groups, entrypoint=["/bin/sh", "-c", "exec 1>&2; env; exec ls /proc/self/fd"]) as agent:
        agent.wait_log(msg="the entrypoint has ended")
        assert not [line for line in agent.lines if line.startswith("EXECD_CGROUP_FDS")]
        assert [line for line in agent.lines if line.isdigit()] == ["0", "1", "2", "3"]  # 3 is the folder that ls reads


def test_M21_a_fork_bomb_leaves_execd_room(tmp_path, sandbox_groups):
    limit(sandbox_groups)
    bomb = "while :; do sleep 100 & done 2>/dev/null"
    with start_in(tmp_path, sandbox_groups, entrypoint=["/bin/sh", "-c", bomb]) as agent:
        agent.wait_log(msg="listening")
        pids = sandbox_groups.get("pids") or sandbox_groups["unified"]
        eventually(lambda: int((pids / "work/pids.current").read_text()) >= 90)
        assert agent.client.get("/ping").status_code == 200


@pytest.mark.parametrize("command", [
    "exec tail -n 1 /dev/zero",            # the leader itself is killed
    "tail -n 1 /dev/zero; exit $?",        # the shell reports it
])
def test_M20_a_hog_is_told_that_it_was_out_of_memory(tmp_path, sandbox_groups, command):
    limit(sandbox_groups)
    with start_in(tmp_path, sandbox_groups) as agent:
        error = agent.command(command)[-1]["error"]
        assert error["evalue"] in ("-1", "137")
        assert error["traceback"][1] == "killed by the kernel: out of memory"
        assert agent.command("echo ok")[-1]["type"] == "execution_complete"


def leaves_of(groups):
    """Groups of commands that are there, in any hierarchy."""
    return [path for folder in groups.values() for path in (folder / "work").iterdir()
            if path.is_dir() and path.name != "entrypoint"]


def test_B01_a_timeout_empties_the_group(tmp_path, sandbox_groups):
    """Nothing a process does to leave its parents, session or marks takes it out of its group."""
    daemons = "(setsid sh -c 'ulimit -x 5; sleep 198765 & sleep 198765' >/dev/null 2>&1 &); sleep 198765"
    with start_in(tmp_path, sandbox_groups) as agent:
        error = agent.command(daemons, timeout=500)[-1]["error"]
        assert error["traceback"] == ["signal: killed", "timeout after 500 ms"]
        eventually(lambda: leaves_of(sandbox_groups) == [], message="a group of a command is left")


def test_groups_of_commands_go_with_them(tmp_path, sandbox_groups):
    with start_in(tmp_path, sandbox_groups) as agent:
        for _ in range(30):
            agent.command("true")
        eventually(lambda: leaves_of(sandbox_groups) == [], message="groups of commands are left")
        agent.command("sleep 0.3 & true")  # outlives its leader: its group goes with a later command's
        eventually(lambda: agent.command("true") and leaves_of(sandbox_groups) == [], message="a survivor's group is left")


@pytest.mark.parametrize("value", ["memory", "memory:x", "memory:1", "memory:999", "nix:5", "memory:5,memory:5"])
def test_a_broken_handover_is_refused_with_its_reason(start_broken, value):
    code, text = start_broken(value)
    assert code == 1
    assert "EXECD_CGROUP_FDS" in text


@pytest.fixture
def start_broken(tmp_path):
    def start(value):
        agent = Execd(tmp_path, env={"EXECD_CGROUP_FDS": value})
        return agent.wait(), "\n".join(agent.lines)

    return start


def test_C31_metrics_are_the_sandboxes_own(tmp_path, sandbox_groups):
    limit(sandbox_groups)
    with start_in(tmp_path, sandbox_groups) as agent:
        text = agent.client.get("/metrics", headers={"Accept": "text/plain"}).text
        shown = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
        if 'source="cgroup"' not in text:
            pytest.skip("no controller for memory and CPU here")
        assert float(shown["sandbox_memory_limit_bytes"]) == MEMORY
        assert float(shown["sandbox_memory_usage_bytes"]) < MEMORY
        assert agent.client.get("/metrics").json()["mem_total_mib"] == MEMORY >> 20
        burnt = agent.command("i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done")
        assert burnt[-1]["type"] == "execution_complete"

        def grown():
            after = agent.client.get("/metrics", headers={"Accept": "text/plain"}).text
            line = next(line for line in after.splitlines() if line.startswith("sandbox_cpu_seconds_total"))
            return float(line.split()[1]) > float(shown["sandbox_cpu_seconds_total"])

        eventually(grown)


def test_a_kernel_killed_for_lack_of_memory_says_so(tmp_path, sandbox_groups):
    limit(sandbox_groups)
    specs = make_specs(tmp_path / "share")
    with start_in(tmp_path, sandbox_groups, env={"JUPYTER_PATH": str(specs), "EXECD_ZYGOTE": "off"}) as agent:
        if 'source="cgroup"' not in agent.client.get("/metrics", headers={"Accept": "text/plain"}).text:
            pytest.skip("no controller for memory and CPU here")
        context = create(agent)["id"]
        events = run(agent, "x = b'x' * (400 << 20)", context=context)
        error, receipt = error_of(events), events[-1]["receipt"]
        assert error["ename"] == "KernelDied"
        assert "EXECD_001" in error["evalue"] and "out of memory: limit " in error["evalue"]
        assert (receipt["reason"], receipt["source"], receipt["oom_kills"]) == ("oom", "cgroup", 1)
        assert receipt["memory_peak_bytes"] > 100 << 20 and receipt["memory_peak_of"] == "kernel"
        assert agent.client.post(f"/code/contexts/{context}/restart", timeout=60).status_code == 200
        assert results(run(agent, "6 * 7", context=context))[0]["text"] == "42"


def test_out_of_memory_is_counted_and_told(tmp_path, sandbox_groups):
    limit(sandbox_groups)
    with start_in(tmp_path, sandbox_groups) as agent:
        if 'source="cgroup"' not in agent.client.get("/metrics", headers={"Accept": "text/plain"}).text:
            pytest.skip("no controller for memory and CPU here")
        with agent.new_client().stream("GET", "/events") as response:
            # The shell must live to report it: the hog is a child.
            agent.command("head -c 400m /dev/zero | tail | cat")
            kind = ""
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                kind = value if name == "event" else kind
                if name == "data" and kind == "oom":
                    break
        assert '"kills":' in value
        text = agent.client.get("/metrics", headers={"Accept": "text/plain"}).text
        assert float(next(x for x in text.splitlines() if x.startswith("sandbox_oom_kills_total")).split()[1]) >= 1


# ---- leaves that are not empty yet


def await_hung(hung):
    """Somebody waits for that file system, and cannot be killed."""
    wanted = f"{hung.folder.decode()}/file".encode()
    return eventually(lambda: next((path for path in Path("/proc").glob("[0-9]*") if holds(path, wanted)), None))


def holds(process, argument):
    try:
        return (argument in (process / "cmdline").read_bytes().split(b"\0")
                and "request_wait_answer" in (process / "wchan").read_text())
    except OSError:
        return False


def test_a_new_shell_is_not_killed_with_what_the_last_one_left(tmp_path, sandbox_groups, hung):
    with start_in(tmp_path, sandbox_groups) as agent:
        session = agent.client.post("/session").json()["session_id"]

        def run(text):
            answer = agent.client.post(f"/session/{session}/run", json={"command": text})
            return sse_events(answer.text)

        run(f"cat {hung.folder.decode()}/file & :")
        left = await_hung(hung)
        assert run("exit 3")[-1]["error"]["evalue"] == "3"
        events = run("sleep 0.3; echo here")  # the killing goes on all the time
        assert output_of(events) == "here\n" and events[-1]["type"] == "execution_complete", events
        assert left.exists()
        hung.answer_all()
        eventually(lambda: not left.exists())


def test_hooks_that_run_at_once_end_apart(tmp_path, sandbox_groups):
    """The time limit of one is not for the other."""
    told = tmp_path / "told"
    lifecycle = {"periodic": [
        {"name": "quick", "schedule": "@every 1s", "command": ["sleep", "1000"], "timeoutSeconds": 1},
        {"name": "slow", "schedule": "@every 1s", "command": ["sh", "-c", f"sleep 3; echo here >>{told}"]}]}
    with start_in(tmp_path, sandbox_groups, env={"OPENSANDBOX_LIFECYCLE": json.dumps(lifecycle)}) as agent:
        agent.wait_log(msg="a hook took too long", hook="quick")
        assert agent.wait_log(msg="a hook has ended", hook="slow")["code"] == "0"
        assert told.exists()
