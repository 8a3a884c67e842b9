"""Watches: every change once the watch stands, or a gap that says so."""

import json
import os
import shutil
import threading

import pytest

from harness.execd import eventually, fds
from harness.patience import PATIENCE_S


@pytest.fixture
def agent(start_execd):
    """A watch stays for a while when its reader has gone, so descriptors are not counted at the end."""
    return start_execd()


class Follower:
    """Reads a stream of standard frames on a thread; events as dictionaries with their id."""

    def __init__(self, agent, url, params=None, headers=None):
        self.client = agent.new_client()
        self.context = self.client.stream("GET", url, params=params, headers=headers, timeout=10)
        self.response = self.context.__enter__()
        self.events, self.ended = [], threading.Event()
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        frame = {}
        try:
            for line in self.response.iter_lines():
                if line:
                    key, _, value = line.partition(": ")
                    frame[key] = value
                elif frame:
                    self.events.append({**json.loads(frame["data"]), "sse": frame})
                    frame = {}
        except Exception:  # the test has closed it
            pass
        self.ended.set()

    def __enter__(self):
        return self

    def __exit__(self, *what):
        self.close()

    def close(self):
        self.response.close()
        self.client.close()

    def wait(self, wanted, limit_s=PATIENCE_S):
        """The first event for which wanted(event) holds."""
        return eventually(lambda: next((e for e in list(self.events) if wanted(e)), None), limit_s,
                          f"not seen; got {[e.get('change') or e['type'] for e in self.events]}")

    def change(self, kind, path, **more):
        return self.wait(lambda e: e["type"] == "change" and e["change"]["kind"] == kind
                         and e["change"]["path"] == str(path)
                         and all(e["change"].get(k) == v for k, v in more.items()))

    def changes(self):
        return [(e["change"]["kind"], e["change"]["path"]) for e in self.events if e["type"] == "change"]


def watch(agent, path, recursive=None, **headers):
    params = {"path": str(path), **({} if recursive is None else {"recursive": recursive})}
    follower = Follower(agent, "/files/watch", params, headers)
    if follower.response.status_code == 200:
        follower.wait(lambda e: e["type"] == "init")
    return follower


def test_changes_of_a_folder(agent, tmp_path):
    root = tmp_path / "root"
    (root / "sub").mkdir(parents=True)
    with watch(agent, root) as follower:
        assert follower.response.headers["content-type"].startswith("text/event-stream")
        assert follower.events[0]["text"] == follower.response.headers["x-execd-run-id"]
        path = root / "ä b"
        path.write_text("x")
        follower.change("created", path, directory=False)
        follower.change("modified", path)
        follower.change("written", path)
        path.chmod(0o600)
        follower.change("attributes", path)
        path.rename(root / "c")
        follower.change("moved", root / "c", **{"from": str(path)})
        (root / "c").unlink()
        follower.change("deleted", root / "c")
        (root / "sub/quiet").touch()  # not recursive
        (root / "made").mkdir()
        follower.change("created", root / "made")
        (root / "made/quiet").touch()
        (root / "end").touch()
        follower.change("created", root / "end")
        told = [p for _, p in follower.changes()]
        assert str(root / "sub/quiet") not in told and str(root / "made/quiet") not in told


def test_recursive_and_new_folders(agent, tmp_path):
    root = tmp_path / "root"
    (root / "a/b").mkdir(parents=True)
    with watch(agent, root, True) as follower:
        (root / "a/b/f").touch()
        follower.change("created", root / "a/b/f")
        (root / "new/x/y").mkdir(parents=True)
        (root / "new/x/y/inner").write_text("1")
        follower.change("created", root / "new/x/y/inner")
        (root / "new/x/y/later").write_text("1")
        follower.change("created", root / "new/x/y/later")
        (root / "new").rename(root / "a/moved")
        follower.change("moved", root / "a/moved", directory=True, **{"from": str(root / "new")})
        (root / "a/moved/x/y/inner").unlink()
        follower.change("deleted", root / "a/moved/x/y/inner")


def test_in_and_out_of_the_tree(agent, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "leaves/deep").mkdir(parents=True)
    (outside / "comes/deep").mkdir(parents=True)
    (outside / "comes/deep/f").touch()
    with watch(agent, root, "true") as follower:
        (root / "leaves").rename(outside / "left")
        follower.change("deleted", root / "leaves", directory=True)
        (outside / "comes").rename(root / "here")
        follower.change("created", root / "here", directory=True)
        follower.change("created", root / "here/deep/f")
        (outside / "left/deep/unseen").touch()
        (root / "here/deep/g").touch()
        follower.change("created", root / "here/deep/g")
        assert not any("unseen" in path for _, path in follower.changes())


def test_end_of_the_root_and_files(agent, tmp_path):
    root, single = tmp_path / "root", tmp_path / "file"
    (root / "sub").mkdir(parents=True)
    single.write_text("1")
    with watch(agent, root, True) as follower, watch(agent, single) as of_file:
        shutil.rmtree(root)
        follower.change("deleted", root, directory=True)
        assert follower.ended.wait(PATIENCE_S) and follower.events[-1]["type"] == "execution_complete"
        single.write_text("22")
        of_file.change("written", single)
        single.unlink()
        assert of_file.ended.wait(PATIENCE_S) and of_file.events[-1]["type"] == "execution_complete"


def test_links_are_not_followed(agent, tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "link").symlink_to(outside)
    (root / "loop").symlink_to(root)
    with watch(agent, root, True) as follower:
        (outside / "secret").touch()
        (root / "seen").touch()
        follower.change("created", root / "seen")
        assert {path for _, path in follower.changes()} == {str(root / "seen")}


def test_resume_by_id(agent, tmp_path):
    """A client that comes back gets exactly what it missed."""
    follower = watch(agent, tmp_path / ".", True)
    run_id = follower.response.headers["x-execd-run-id"]
    (tmp_path / "one").touch()
    last = follower.change("created", tmp_path / "one")["sse"]["id"]
    follower.close()
    (tmp_path / "two").touch()
    with Follower(agent, f"/command/{run_id}/stream", {"sse": "standard"}, {"Last-Event-ID": last}) as again:
        again.change("created", tmp_path / "two")
        (tmp_path / "three").touch()
        again.change("created", tmp_path / "three")
        paths = [path for kind, path in again.changes() if kind == "created"]
        assert paths == [str(tmp_path / "two"), str(tmp_path / "three")]
    with watch(agent, tmp_path, **{"Last-Event-ID": last}) as fresh:
        assert fresh.wait(lambda e: e["type"] == "gap")["dropped"] == {"reason": "restarted"}


def test_a_flood_is_whole_or_has_a_gap(agent, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with watch(agent, root) as follower:
        for i in range(30_000):
            os.close(os.open(root / f"{i:05}", os.O_CREAT | os.O_RDONLY | os.O_CLOEXEC))
        eventually(lambda: any(e["type"] == "gap" for e in list(follower.events)) or
                   follower.changes()[-1:] == [("created", str(root / "29999"))], message="neither whole nor a gap")
        (root / "after").touch()
        follower.change("created", root / "after")
        if not any(e["type"] == "gap" for e in follower.events):
            assert [p for k, p in follower.changes() if k == "created"] == [str(root / f"{i:05}") for i in range(30_000)] + [
                str(root / "after")]


def test_a_churning_tree_stays_watched(agent, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    with watch(agent, root, True) as follower:
        for i in range(300):
            (root / f"d{i}/in/ner").mkdir(parents=True)
            (root / f"d{i}").rename(root / f"e{i}")
            if i % 3 == 0:
                shutil.rmtree(root / f"e{i}")
        for i in range(300):
            if i % 3:
                (root / f"e{i}/in/ner/last").touch()
        for i in range(300):
            if i % 3:
                follower.change("created", root / f"e{i}/in/ner/last")


def test_limits(agent, tmp_path):
    root = tmp_path / "wide"
    root.mkdir()
    for i in range(8200):
        os.mkdir(root / str(i))
    response = agent.client.get("/files/watch", params={"path": str(root), "recursive": "true"})
    assert response.status_code == 503 and response.json()["code"] == "SERVICE_UNAVAILABLE", response.text
    followers = [watch(agent, tmp_path) for _ in range(64)]
    response = agent.client.get("/files/watch", params={"path": str(tmp_path)})
    assert response.status_code == 503 and "64" in response.json()["message"]
    for follower in followers:
        follower.close()


@pytest.mark.parametrize("params, status, code", [
    ({}, 400, "MISSING_QUERY"), ({"path": ""}, 400, "INVALID_REQUEST_BODY"),
    ({"path": "/no/such/place"}, 404, "FILE_NOT_FOUND"),
    ({"path": "/tmp", "recursive": "perhaps"}, 400, "INVALID_REQUEST_BODY"),
])
def test_bad_input(execd, params, status, code):
    before = len(fds(execd.pid))
    response = execd.client.get("/files/watch", params=params)
    assert response.status_code == status and response.json()["code"] == code, response.text
    eventually(lambda: len(fds(execd.pid)) <= before + 1, message="descriptors are left")  # the client's connection


def test_framing_by_query_or_header(agent, tmp_path):
    for params, headers, first in (({}, {}, "id: "), ({"sse": "raw"}, {}, "{"), ({}, {"X-Execd-Sse": "RAW"}, "{"),
                                   ({"sse": "standard"}, {"X-Execd-Sse": "raw"}, "id: ")):
        with agent.client.stream("GET", "/files/watch", params={"path": str(tmp_path), **params}, headers=headers,
                                 timeout=10) as response:
            assert next(response.iter_lines()).startswith(first), (params, headers)
