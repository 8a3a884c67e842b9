"""Isolated sessions over HTTP: life cycle, runs, background runs, refusals (contracts/v1.1.md 1.6)."""

import contextlib
import os
import subprocess
import time
from pathlib import Path

import pytest

from harness.execd import TOKEN, Execd, Leaks, eventually, output_of, sse_events

BASE = "/v1/isolated"
NOBODY = "00000000-0000-4000-8000-000000000000"


@contextlib.contextmanager
def started(folder, launcher=()):
    for name in ("work", "data", "run"):
        (folder / name).mkdir()
    with Execd(folder / "run", "--isolation-root", folder / "layers", "--isolation-writable",
               folder / "data", env={"SEEN": "yes", "HIDDEN": "yes"}, launcher=launcher) as execd:
        execd.work, execd.data, execd.layers = folder / "work", folder / "data", folder / "layers"
        if os.geteuid() != 0:
            pytest.skip("needs root")
        yield execd


@pytest.fixture
def agent(tmp_path):
    """An execd whose sessions may write below tmp_path/data; the workspace is tmp_path/work."""
    with started(tmp_path) as execd:
        yield execd


def create(agent, **body):
    body.setdefault("workspace", {"path": str(agent.work)})
    response = agent.client.post(f"{BASE}/session", json=body)
    assert response.status_code == 201, response.text
    return response.json()["session_id"]


def run(agent, session, code, **body):
    response = agent.client.post(f"{BASE}/session/{session}/run", json={"code": code, **body})
    assert response.status_code == 200, response.text
    return sse_events(response.text)


def text(agent, session, code, **body):
    return output_of(run(agent, session, code, **body))


def error(response):
    body = response.json()
    return response.status_code, body["code"], body["message"]


def test_capabilities_say_what_is_possible(agent):
    report = agent.client.get(f"{BASE}/capabilities").json()
    assert report["available"] is True, report
    assert report["hardening"]["seccomp"] == {"state": "active"}
    assert report["hardening"]["init_mode"] == "subreaper"
    possible = subprocess.run(["unshare", "--user", "true"], check=False).returncode == 0
    assert report["userns_available"] is possible
    assert agent.client.get(f"{BASE}/capabilities").json() == report


def test_life_of_a_session(agent):
    session = create(agent, profile="balanced", idle_timeout_seconds=600)
    state = agent.client.get(f"{BASE}/session/{session}").json()
    assert state["status"] == "active"
    assert state["workspace"] == {"path": str(agent.work), "mode": "overlay", "persist": True}
    assert (state["profile"], state["uid_mode"], state["share_net"]) == ("balanced", "setpriv", True)
    assert 590 <= state["idle_remaining_seconds"] <= 600
    listed = agent.client.get(f"{BASE}/sessions").json()["sessions"]
    assert [(row["session_id"], row["status"]) for row in listed] == [(session, "active")]
    assert {"created_at", "last_run_at"} <= listed[0].keys()
    assert agent.client.delete(f"{BASE}/session/{session}").status_code == 200
    assert error(agent.client.delete(f"{BASE}/session/{session}"))[:2] == (404, "CONTEXT_NOT_FOUND")
    assert agent.client.get(f"{BASE}/sessions").json() == {"sessions": []}


def test_state_persists_from_run_to_run(agent):
    session = create(agent)
    assert text(agent, session, "pwd").strip() == str(agent.work)
    run(agent, session, "export A=1; f() { echo f-$1; }; cd /usr")
    assert text(agent, session, "echo $A; f x; pwd").split() == ["1", "f-x", "/usr"]
    assert text(agent, session, "echo $B", envs={"B": "two words"}).strip() == "two words"
    events = run(agent, session, "echo out; echo err >&2; exit_with() { return $1; }; exit_with 5")
    assert output_of(events).strip() == "out" and output_of(events, "stderr").strip() == "err"
    assert events[-1]["type"] == "error" and events[-1]["error"]["evalue"] == "5"


def test_few_processes_inside(agent):
    session = create(agent)
    assert int(text(agent, session, "echo $$")) == 2


def test_overlay_keeps_writes_in_the_session(agent):
    (agent.work / "old").write_text("before")
    first, second = create(agent), create(agent)
    run(agent, first, "echo mine >new; rm old")
    assert text(agent, first, "ls").split() == ["new"]
    assert text(agent, second, "ls").split() == ["old"]
    assert [path.name for path in agent.work.iterdir()] == ["old"]


def test_layers_go_with_the_session(agent):
    session = create(agent)
    run(agent, session, "mkdir -p $(seq -s / 1 300); echo x >x")
    own = next(agent.layers.glob("execd-*"))
    assert len(list(own.iterdir())) == 1
    agent.client.delete(f"{BASE}/session/{session}")
    eventually(lambda: not own.exists())


def test_modes_and_binds(agent):
    for name in ("rw", "ro", "mem", "source"):
        (agent.data / name).mkdir()
    (agent.work / "dest").mkdir()
    (agent.data / "source" / "f").write_text("bound")
    session = create(agent, workspace=None, overlays=[
        {"path": str(agent.work), "mode": "overlay"}, {"path": str(agent.data / "rw"), "mode": "rw"},
        {"path": str(agent.data / "ro"), "mode": "ro"}, {"path": str(agent.data / "mem"), "persist": False},
    ], binds=[{"source": str(agent.data / "source"), "dest": str(agent.work / "dest"), "readonly": True}])
    events = run(agent, session, f"cd {agent.data}; touch rw/x ro/x mem/x; ls rw ro mem; cat {agent.work}/dest/f;"
                 f" touch {agent.work}/dest/x /etc/x")
    assert output_of(events).split() == ["mem:", "x", "ro:", "rw:", "x", "bound"]
    assert (agent.data / "rw" / "x").exists()
    for gone in ("ro/x", "mem/x", "source/x"):
        assert not (agent.data / gone).exists()
    assert output_of(events, "stderr").count("Read-only") == 3


def test_overlays_need_not_lie_in_the_allowed_directories(agent):
    session = create(agent, workspace={"path": str(agent.work), "mode": "rw"})  # only agent.data is allowed
    run(agent, session, "echo x >new")
    assert (agent.work / "new").read_text() == "x\n"


def test_environment(agent):
    code = "echo $SEEN-$HIDDEN"
    assert text(agent, create(agent), code).strip() == "yes-yes"
    deny = {"mode": "deny", "keys": ["HIDDEN"]}
    assert text(agent, create(agent, env_passthrough=deny), code).strip() == "yes-"
    allow = {"mode": "allow", "keys": ["HIDDEN"]}
    assert text(agent, create(agent, env_passthrough=allow), code).strip() == "-yes"


def test_identity(agent):
    agent.work.chmod(0o777)
    session = create(agent, uid=1234, gid=4321)
    assert text(agent, session, "id -u; id -g; echo x >x && stat -c %u:%g x").split() == ["1234", "4321", "1234:4321"]
    session = create(agent, uid=1234, gid=4321, uid_mode="userns")
    assert text(agent, session, "id -u; id -g; echo x >x && stat -c %u:%g x").split() == ["1234", "4321", "1234:4321"]


def test_network_of_its_own(agent):
    probe = "tail -n +3 /proc/net/dev | cut -d: -f1"
    assert text(agent, create(agent, share_net=False), probe).split() == ["lo"]
    shared = sorted(line.split(":")[0].strip() for line in Path("/proc/net/dev").read_text().splitlines()[2:])
    assert sorted(text(agent, create(agent), probe).split()) == shared


def test_timeout_ends_the_run_and_not_the_session(agent):
    session = create(agent)
    run(agent, session, "x=5")
    events = run(agent, session, "echo begun; sleep 60", timeout_seconds=1)
    assert output_of(events).strip() == "begun"
    assert events[-1]["error"]["ename"] == "IsolatedError"
    assert text(agent, session, "echo $x").strip() == "5"


def test_client_that_leaves_interrupts(agent):
    session = create(agent)
    with agent.new_client() as client:
        with client.stream("POST", f"{BASE}/session/{session}/run", json={"code": "echo go; sleep 60"}) as response:
            next(response.iter_raw())
    assert text(agent, session, "echo free").strip() == "free"


def test_dead_session_says_so(agent):
    session = create(agent)
    assert run(agent, session, "kill -KILL $$")[-1]["error"]["ename"] == "IsolatedError"
    eventually(lambda: agent.client.get(f"{BASE}/session/{session}").json()["status"] == "dead")
    last = run(agent, session, "echo x")[-1]
    assert last["error"]["ename"] == "IsolatedError" and "ended" in last["error"]["evalue"]
    assert agent.client.delete(f"{BASE}/session/{session}").status_code == 200


def test_everything_in_it_dies_with_it(agent):
    session = create(agent, profile="balanced")
    mark = f"isolated-{os.getpid()}"
    run(agent, session, f"setsid bash -c 'exec -a {mark} sleep 300' >/dev/null 2>&1 & true")

    def alive():
        return [entry for entry in Path("/proc").glob("[0-9]*/cmdline")
                if entry.exists() and mark.encode() in _bytes(entry)]

    eventually(alive)
    agent.client.delete(f"{BASE}/session/{session}")
    eventually(lambda: not alive())


def _bytes(path):
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_background_run(agent):
    session = create(agent)
    url = f"{BASE}/session/{session}"
    answer = agent.client.post(f"{url}/run", json={"code": "echo one; sleep 0.2; echo two; (exit 3)", "background": True})
    assert answer.status_code == 202
    run_id = answer.json()["run_id"]
    done = eventually(lambda: (r := agent.client.get(f"{url}/runs/{run_id}").json())["running"] is False and r)
    assert (done["exit_code"], done["session_id"]) == (3, session)
    logs = agent.client.get(f"{url}/runs/{run_id}/logs")
    assert (logs.text, logs.headers["EXECD-ISOLATED-TAIL-CURSOR"]) == ("one\ntwo\n", "8")
    assert agent.client.get(f"{url}/runs/{run_id}/logs", params={"cursor": 4}).text == "two\n"
    assert error(agent.client.get(f"{url}/runs/{run_id}/logs", params={"cursor": "x"}))[0] == 400
    assert error(agent.client.get(f"{url}/runs/{NOBODY}"))[0] == 404
    agent.client.delete(url)
    lost = agent.client.get(f"{url}/runs/{run_id}").json()
    assert lost["running"] is False and lost["error"] == "session terminated"


def test_background_needs_a_place_for_the_log(agent):
    for overlay in ({"mode": "ro"}, {"persist": False}):
        session = create(agent, workspace=None, overlays=[{"path": str(agent.work), **overlay}])
        answer = agent.client.post(f"{BASE}/session/{session}/run", json={"code": "true", "background": True})
        assert error(answer)[:2] == (400, "INVALID_REQUEST_BODY")


def test_idle_sessions_go(agent):
    session = create(agent, idle_timeout_seconds=2)
    started = time.monotonic()
    run(agent, session, "sleep 2.5")  # not idle
    assert agent.client.get(f"{BASE}/session/{session}").status_code == 200
    eventually(lambda: agent.client.get(f"{BASE}/session/{session}").status_code == 404)
    assert time.monotonic() - started >= 4.4


@pytest.mark.parametrize("body, word", [
    ({}, "workspace or overlays"),
    ({"workspace": {}}, "path"),
    ({"workspace": {"path": "relative"}}, "absolute"),
    ({"workspace": {"path": "/tmp/../etc"}}, "clean"),
    ({"workspace": {"path": "/none/there"}}, "no directory"),
    ({"workspace": {"path": "/"}}, "'/'"),
    ({"workspace": {"path": "/proc/self"}}, "/proc"),
    ({"workspace": {"path": "/tmp", "mode": "rx"}}, "mode"),
    ({"workspace": {"path": "/tmp", "mode": "rw", "persist": True}}, "persist"),
    ({"overlays": [{"path": "/tmp"}, {"path": "/tmp"}]}, "twice"),
    ({"overlays": [{"path": f"/usr/{name}"} for name in ("bin", "lib", "share")] * 6}, "overlays"),
    ({"workspace": {"path": "/tmp"}, "profile": "loose"}, "profile"),
    ({"workspace": {"path": "/tmp"}, "uid_mode": "sudo"}, "uid_mode"),
    ({"workspace": {"path": "/tmp"}, "uid": -1}, "uid"),
    ({"workspace": {"path": "/tmp"}, "gid": 1}, "uid is required"),
    ({"workspace": {"path": "/tmp"}, "idle_timeout_seconds": -1}, "idle_timeout_seconds"),
    ({"workspace": {"path": "/tmp"}, "extra_writable": ["/etc"]}, "allowed"),
    ({"workspace": {"path": "/tmp"}, "extra_writable": ["/none"]}, "No such file"),
    ({"workspace": {"path": "/tmp"}, "binds": [{"source": "/etc"}]}, "allowed"),
    ({"workspace": {"path": "/tmp"}, "env_passthrough": {"mode": "some"}}, "mode"),
])
def test_bad_bodies(agent, body, word):
    status, code, message = error(agent.client.post(f"{BASE}/session", json=body))
    assert (status, code) == (400, "INVALID_REQUEST_BODY")
    assert word in message


def test_links_out_of_the_allowed_directories_are_refused(agent):
    (agent.data / "out").symlink_to("/etc")
    body = {"workspace": {"path": str(agent.work)}, "binds": [{"source": str(agent.data / "out"), "dest": "/mnt"}]}
    assert error(agent.client.post(f"{BASE}/session", json=body))[0] == 400


def test_needs_the_token(agent):
    with agent.new_client(token=None) as client:
        assert client.get(f"{BASE}/sessions").status_code == 401
        assert client.post(f"{BASE}/session", json={}).status_code == 401


def test_leftovers_are_reclaimed_and_neighbours_are_not(agent, tmp_path):
    create(agent)
    mine = next(agent.layers.glob("execd-*"))
    old = agent.layers / "execd-0123456789abcdef"
    (old / "0" / "deep").mkdir(parents=True)
    (tmp_path / "second").mkdir()
    with Execd(tmp_path / "second", "--isolation-root", agent.layers) as second:
        body = {"workspace": {"path": str(agent.work)}}
        assert second.client.post(f"{BASE}/session", json=body).status_code == 201
        eventually(lambda: not old.exists())
        assert mine.exists()


def test_nothing_leaks(agent):
    create(agent)  # opens the store
    leaks = Leaks(agent)
    for _ in range(3):
        session = create(agent)
        run(agent, session, "echo x >x; sleep 100 &")
        agent.client.delete(f"{BASE}/session/{session}")
    leaks.check()


def test_without_privilege_it_says_what_is_missing(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("needs root to give privileges up")
    launcher = ["setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all", "--no-new-privs"]
    (tmp_path / "run").mkdir()
    with Execd(tmp_path / "run", "--isolation-root", tmp_path / "layers", launcher=launcher) as agent:
        report = agent.client.get(f"{BASE}/capabilities")
        assert report.status_code == 200
        assert report.json()["available"] is False
        assert "CAP_SYS_ADMIN" in report.json()["message"]
        body = {"workspace": {"path": str(tmp_path)}}
        status, code, message = error(agent.client.post(f"{BASE}/session", json=body))
        assert (status, code) == (503, "SERVICE_UNAVAILABLE")
        assert "CAP_SYS_ADMIN" in message


# ---- what was changed, and taking it over


def changes(agent, session):
    answer = agent.client.get(f"{BASE}/session/{session}/diff")
    assert answer.status_code == 200, answer.text
    assert answer.json()["truncated"] is False
    return {(row["kind"], row["type"], row["path"].removeprefix(f"{agent.work}/")) for row in answer.json()["changes"]}


@pytest.fixture
def changed(agent):
    """A session that has added, changed, deleted and replaced."""
    work = agent.work
    for name in ("same", "old", "gone", "dir/inner", "swap/was", "kept/a", "kept/b"):
        (work / name).parent.mkdir(exist_ok=True)
        (work / name).write_text(name)
    session = create(agent)
    run(agent, session, "echo changed >old; rm gone; rm -r dir; rm -r swap; mkdir swap; echo new >swap/is;"
        " mkdir -p fresh/deep; echo x >fresh/deep/f; chmod 600 fresh/deep/f; ln -s /etc/passwd link; touch kept/c;"
        " rm kept/a; rm -r none 2>/dev/null; mkdir kept/sub && rmdir kept/sub; mkfifo pipe; cat same >/dev/null")
    return session


def test_diff_lists_the_changes(agent, changed):
    assert changes(agent, create(agent)) == set()
    assert changes(agent, changed) - {("modified", "directory", "swap")} == {
        ("modified", "file", "old"), ("deleted", "file", "gone"), ("deleted", "directory", "dir"),
        ("deleted", "file", "swap/was"), ("added", "file", "swap/is"), ("added", "directory", "fresh"),
        ("added", "directory", "fresh/deep"), ("added", "file", "fresh/deep/f"), ("added", "symlink", "link"),
        ("added", "file", "kept/c"), ("deleted", "file", "kept/a"), ("added", "other", "pipe")}


def test_commit_takes_the_changes_over(agent, changed):
    answer = agent.client.post(f"{BASE}/session/{changed}/commit")
    assert answer.status_code == 200, answer.text
    assert answer.json()["skipped"] == 1 and answer.json()["committed"] >= 10
    work = agent.work
    found = {str(path.relative_to(work)): path.read_text() for path in work.rglob("*")
             if path.is_file() and not path.is_symlink()}
    assert found == {"same": "same", "old": "changed\n", "swap/is": "new\n", "fresh/deep/f": "x\n", "kept/b": "kept/b",
                     "kept/c": ""}
    assert os.readlink(work / "link") == "/etc/passwd"
    assert (work / "fresh/deep/f").stat().st_mode & 0o777 == 0o600
    assert changes(agent, changed) == {("added", "other", "pipe")}
    assert agent.client.post(f"{BASE}/session/{changed}/commit").json()["committed"] == 0
    assert text(agent, create(agent), "ls").split() == ["fresh", "kept", "link", "old", "same", "swap"]


def test_commit_does_not_follow_links(agent):
    (agent.data / "victim").write_text("safe")
    session = create(agent)
    run(agent, session, "mkdir d; echo evil >d/victim")
    (agent.work / "d").symlink_to(agent.data)
    answer = agent.client.post(f"{BASE}/session/{session}/commit")
    assert (agent.data / "victim").read_text() == "safe"
    assert answer.status_code == 200 and (agent.work / "d" / "victim").read_text() == "evil\n"
    assert not (agent.work / "d").is_symlink()


def test_commit_waits_for_nobody(agent):
    session = create(agent)
    url = f"{BASE}/session/{session}"
    run_id = agent.client.post(f"{url}/run", json={"code": "sleep 30", "background": True}).json()["run_id"]
    assert error(agent.client.post(f"{url}/commit"))[:2] == (409, "SESSION_BUSY")
    assert agent.client.get(f"{url}/runs/{run_id}").json()["running"] is True
    assert error(agent.client.get(f"{BASE}/session/{NOBODY}/diff"))[0] == 404


# ---- files, seen as the session sees them --------------------------------------------------------


@pytest.fixture
def mounting(tmp_path):
    """An execd in a mount namespace of its own: what is mounted there goes with it."""
    if os.geteuid() != 0:
        pytest.skip("needs root: mounts")
    with started(tmp_path, ["unshare", "--mount", "--propagation", "private"]) as execd:
        execd.wait_log(msg="listening")  # from now on it is in there
        execd.root = Path(f"/proc/{execd.pid}/root")
        yield execd


def commit(agent, session):
    return agent.client.post(f"{BASE}/session/{session}/commit", timeout=10)


def mount_volume(agent, name, *files):
    """A file system in memory at `name` of the workspace, as execd sees it; returns its place."""
    place = agent.work / name
    place.mkdir(parents=True)
    (place / "below").write_text("covered\n")
    subprocess.run(["nsenter", f"--mount=/proc/{agent.pid}/ns/mnt", "mount", "-t", "tmpfs", "none", place], check=True)
    volume = agent.root / str(place)[1:]
    for file in files:
        (volume / file).parent.mkdir(exist_ok=True)
        (volume / file).write_text(file)
    return volume


@pytest.mark.parametrize("where, code, named", [
    ("data", "rm -rf data", "data"),
    ("data", "rm -rf data; echo x >data", "data"),
    ("data", "rm -rf data; ln -s / data", "data"),
    ("a/b", "rm -rf a", "a"),
    ("a/b", "rm -rf a; echo x >a", "a"),
    ("a/b", "rm -rf a; mkdir a; touch a/new", "a"),
    ("a/b/c", "rm -rf a", "a"),
    ("a/b/c/a b", "rm -rf a", "a"),
    ("data", "echo x >data/file", "data/file"),
    ("data", "rm -f data/below", "data/below"),
    ("data", "echo x >data/dir", "data/dir"),
])
def test_commit_leaves_volumes_alone(mounting, where, code, named):
    held = ("file", "dir/inner")
    volume = mount_volume(mounting, where, *held)
    beside = mounting.work / Path(where).parts[0] / "beside"
    if where != "data":
        beside.write_text("beside")
    session = create(mounting)
    assert text(mounting, session, f"cat '{where}/below'") == "covered\n"  # overlays do not show what is mounted inside
    run(mounting, session, code)
    status, kind, message = error(commit(mounting, session))
    assert (status, kind) == (500, "RUNTIME_ERROR") and f"'{named}'" in message and "mounted" in message
    assert {name: (volume / name).read_text() for name in held} == {name: name for name in held}
    assert where == "data" or beside.read_text() == "beside"
    assert mounting.client.delete(f"{BASE}/session/{session}").status_code == 200


@pytest.mark.parametrize("where", ["a", "a/b", "a/b/c"])
def test_commit_ends_at_an_empty_volume(mounting, where):
    volume = mount_volume(mounting, where)
    session = create(mounting)
    run(mounting, session, "rm -rf a")
    assert "mounted" in error(commit(mounting, session))[2]
    assert volume.is_mount()
    run(mounting, session, "mkdir -p a/b/c")  # as good as untouched


def test_commit_beside_a_volume(mounting):
    volume = mount_volume(mounting, "a/data", "file")
    (mounting.work / "gone").mkdir()
    (mounting.work / "a" / "old").write_text("x")
    session = create(mounting)
    run(mounting, session, "rmdir gone; rm a/old; echo x >a/new; chmod 700 a; touch a/data/x; rm a/data/x; echo y >b")
    answer = commit(mounting, session)
    assert answer.status_code == 200, answer.text
    assert sorted(path.name for path in mounting.work.iterdir()) == ["a", "b"]
    assert sorted(path.name for path in (mounting.work / "a").iterdir()) == ["data", "new"]
    assert [path.name for path in volume.iterdir()] == ["file"]


@pytest.mark.parametrize("where", ["a/stuck", "a/b/stuck"])
def test_commit_ends_at_what_cannot_be_removed(agent, where):
    stuck = agent.work / where
    stuck.mkdir(parents=True)
    session = create(agent)
    run(agent, session, "rm -rf a")
    if subprocess.run(["chattr", "+i", stuck], check=False, capture_output=True).returncode != 0:
        pytest.skip("no immutable files here")
    try:
        status, kind, message = error(commit(agent, session))
        assert (status, kind) == (500, "RUNTIME_ERROR") and "'a'" in message
    finally:
        subprocess.run(["chattr", "-i", *agent.work.rglob("*")], check=True)
    assert commit(agent, session).json() == {"committed": 1, "skipped": 0}
    assert not (agent.work / "a").exists()


def files(agent, session, method, path, **more):
    return agent.client.request(method, f"{BASE}/session/{session}/{path}", **more)


def test_files_are_those_of_the_session(agent):
    work = agent.work
    (work / "below").write_text("below\n")
    (work / "gone").write_text("gone\n")
    session = create(agent)
    run(agent, session, "echo mine >new; echo changed >below; rm gone")
    download = lambda name: files(agent, session, "GET", "files/download", params={"path": str(work / name)})
    assert download("new").text == "mine\n" and download("below").text == "changed\n"
    assert download("gone").status_code == 404 and download("gone").json()["code"] == "FILE_NOT_FOUND"
    assert (work / "below").read_text() == "below\n" and (work / "gone").exists() and not (work / "new").exists()
    found = files(agent, session, "GET", "files/search", params={"path": str(work), "pattern": "*"}).json()
    assert sorted(entry["path"] for entry in found) == [f"{work}/below", f"{work}/new"]
    listed = files(agent, session, "GET", "directories/list", params={"path": str(work)}).json()
    assert [entry["path"] for entry in listed] == [f"{work}/below", f"{work}/new"]
    info = files(agent, session, "GET", "files/info", params={"path": f"{work}/new"}).json()
    assert info[f"{work}/new"]["size"] == 5


def test_changes_to_files_are_seen_inside_and_nowhere_else(agent):
    work, session = agent.work, create(agent)
    sent = files(agent, session, "POST", "files/upload", files={
        "metadata": ("metadata", f'{{"path": "{work}/up", "mode": 640}}', "application/json"), "file": ("up", b"one two one\n")})
    assert sent.status_code == 200, sent.text
    replaced = files(agent, session, "POST", "files/replace", json={f"{work}/up": {"old": "one", "new": "1"}})
    assert replaced.json() == {f"{work}/up": {"replacedCount": 2}}
    assert files(agent, session, "POST", "files/mv", json=[{"src": f"{work}/up", "dest": f"{work}/moved"}]).status_code == 200
    assert files(agent, session, "POST", "directories", json={f"{work}/folder": {"mode": 700}}).status_code == 200
    assert files(agent, session, "POST", "files/permissions", json={f"{work}/moved": {"mode": 600}}).status_code == 200
    assert output_of(run(agent, session, "cat moved; stat -c %a moved folder; ls")) == "1 two 1\n600\n700\nfolder\nmoved\n"
    assert files(agent, session, "DELETE", "files", params={"path": f"{work}/moved"}).status_code == 200
    assert files(agent, session, "DELETE", "directories", params={"path": f"{work}/folder"}).status_code == 200
    assert output_of(run(agent, session, "ls")) == ""
    assert list(work.iterdir()) == []


def test_files_of_a_session_have_its_limits(agent):
    session = create(agent, workspace={"path": str(agent.work), "mode": "ro"})
    for path in (f"{agent.work}/x", "/etc/x", "/usr/x"):
        refused = files(agent, session, "POST", "files/upload", files={
            "metadata": ("metadata", f'{{"path": "{path}"}}', "application/json"), "file": ("x", b"x")})
        assert refused.status_code >= 400 and refused.json()["code"], path
    assert not os.path.exists("/etc/x") and not os.path.exists("/usr/x")
    for method, path in (("PUT", "files/info"), ("GET", "directories")):
        assert files(agent, session, method, path).status_code == 405
    assert files(agent, "no-such-session", "GET", "files/info").status_code == 404
    assert files(agent, session, "GET", "files/nothing").status_code == 404
    assert agent.client.delete(f"{BASE}/session/{session}").status_code == 200
    assert files(agent, session, "GET", "files/info").status_code == 404
