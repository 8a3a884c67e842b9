"""Searches: what is found, in which order, and what no tree and no pattern can do (hardening F16)."""

import json
import os
import socket
import threading

import pytest

from harness.execd import eventually, fds, rss_kib, TOKEN


def search(agent, path, pattern=None, **more):
    params = {"path": str(path), **({} if pattern is None else {"pattern": pattern}), **more}
    return agent.client.get("/files/search", params=params)


def found(agent, path, pattern=None):
    response = search(agent, path, pattern)
    assert response.status_code == 200, response.text
    return [os.path.relpath(entry["path"], path) for entry in response.json()]


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    for name in ("b.py", "a/x.py", "a/deep/y.py", "a/deep/.hidden", "a.txt", "src/m.c", "src/m.h", "src/lib/n.c", "ä.py"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    (root / "link").symlink_to("a")
    (root / "dangling").symlink_to("nowhere")
    (root / "loop").symlink_to(".")
    return root


def test_files_in_the_order_of_a_walk(execd, tree):
    assert found(execd, tree) == ["a/deep/.hidden", "a/deep/y.py", "a/x.py", "a.txt", "b.py", "dangling", "link",
                                  "loop", "src/lib/n.c", "src/m.c", "src/m.h", "ä.py"]
    assert found(execd, tree, "") == found(execd, tree, "**")
    entry = search(execd, tree, "b.py").json()[0]
    assert entry == execd.client.get("/files/info", params={"path": str(tree / "b.py")}).json()[str(tree / "b.py")]
    assert [e["type"] for e in search(execd, tree, "[dl]*").json()] == ["symlink"] * 3
    assert found(execd, tree / "link", "*.py") == ["deep/y.py", "x.py"]  # the root itself may be a link


@pytest.mark.parametrize("pattern, wanted", [
    ("*.py", ["a/deep/y.py", "a/x.py", "b.py", "ä.py"]),
    ("**/*.py", ["a/deep/y.py", "a/x.py", "b.py", "ä.py"]),
    ("a/*.py", ["a/x.py"]),
    ("a/**", ["a/deep/.hidden", "a/deep/y.py", "a/x.py"]),
    ("src/**/*.{c,h}", ["src/lib/n.c", "src/m.c", "src/m.h"]),
    ("?.py", ["a/deep/y.py", "a/x.py", "b.py", "ä.py"]),
    ("!(*.py|*.c|[dl]*)", ["a/deep/.hidden", "a.txt", "src/m.h"]),
    ("nothing", []), ("/b.py", []),
])
def test_patterns(execd, tree, pattern, wanted):
    assert found(execd, tree, pattern) == wanted


def test_a_file_as_root(execd, tree):
    assert [e["path"] for e in search(execd, tree / "b.py", "*.py").json()] == [str(tree / "b.py")]
    assert search(execd, tree / "b.py", "*.c").json() == []


@pytest.mark.parametrize("pattern", ["[", "[a", "a\\", "!x", "{a", "a" * 4097, "[]a]", "{" * 40])
def test_F16_bad_patterns(execd, tree, pattern):
    response = search(execd, tree, pattern)
    assert response.status_code == 400 and response.json()["code"] == "INVALID_REQUEST_BODY", response.text
    assert "bad pattern" in response.json()["message"]


def test_bad_input(execd, tmp_path):
    response = execd.client.get("/files/search")
    assert response.status_code == 400 and response.json()["code"] == "MISSING_QUERY"
    assert search(execd, "").status_code == 400
    response = search(execd, tmp_path / "missing")
    assert response.status_code == 404 and response.json()["code"] == "FILE_NOT_FOUND"


def test_F16_patterns_that_explode_elsewhere(execd, tmp_path):
    for i in range(50):
        (tmp_path / ("a" * (200 + i))).touch()
    for pattern in ("**/**/**/*a*a*a*b", "*a" * 100 + "b", "{a,aa}" * 300 + "b", "{{a,b},{a*,b*}}" * 100 + "c"):
        assert found(execd, tmp_path, pattern) == []


def test_F16_names_that_are_no_text(execd, tmp_path):
    root = tmp_path / "names"
    root.mkdir()
    raw = os.fsencode(root)
    for name in (b"\xff\xfe", b"new\nline", b'quo"te', b"c\r\nX: y"):
        open(os.path.join(raw, name), "w").close()
    names = [os.path.basename(e["path"]) for e in search(execd, root).json()]
    assert names == ["c\r\nX: y", "new\nline", 'quo"te', "��"]


def test_F16_large_directories_in_pieces(execd, tmp_path):
    """More names than one batch holds: each once, in order, and the memory does not grow with them."""
    root = tmp_path / "many"
    root.mkdir()
    os.mkdir(root / "m")
    count = 40_000
    for i in range(count):
        os.close(os.open(root / f"{'n' * 80}{(i * 7919) % count:06}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
    (root / "m/inner").touch()
    before = rss_kib(execd.pid)
    response = search(execd, root)
    names = [os.path.relpath(e["path"], root) for e in response.json()]
    assert names == ["m/inner"] + [f"{'n' * 80}{i:06}" for i in range(count)]
    assert "x-execd-truncated" not in response.headers
    assert rss_kib(execd.pid) - before < 24_000


def test_F16_deeper_than_the_walk_goes(execd, tmp_path):
    folder = os.open(tmp_path, os.O_RDONLY)
    for _ in range(600):
        os.mkdir("d", dir_fd=folder)
        below = os.open("d", os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = below
    os.close(folder)
    (tmp_path / "d/near").touch()
    response = search(execd, tmp_path, "near")
    assert len(response.json()) == 1 and response.headers["x-execd-truncated"] == "true"


def test_F16_a_long_answer_that_is_cut_says_so_behind_it(execd, tmp_path):
    for i in range(1000):
        (tmp_path / f"a{i:04}").touch()
    (tmp_path / "/".join("d" * 400)).mkdir(parents=True)
    here = os.open(tmp_path / "/".join("d" * 400), os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=here)
        here, old = os.open("d", os.O_RDONLY, dir_fd=here), here
        os.close(old)
    os.close(here)
    connection = execd.connect()
    connection.sendall((f"GET /files/search?path={tmp_path}&pattern=a* HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                        f"X-EXECD-ACCESS-TOKEN: {TOKEN}\r\n\r\n").encode())
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"\r\nTrailer: X-Execd-Truncated" in answer.partition(b"\r\n\r\n")[0]
    assert answer.endswith(b"0\r\nX-Execd-Truncated: true\r\n\r\n")
    assert len(search(execd, tmp_path, "a*").json()) == 1000


def test_F16_a_tree_that_changes(execd, tmp_path):
    """Entries that vanish during the walk are left out; everything that stays is found."""
    stop = threading.Event()
    for i in range(300):
        (tmp_path / f"stays/{i}").mkdir(parents=True)
        (tmp_path / f"stays/{i}/file").touch()

    def churn():
        n = 0
        while not stop.is_set():
            folder = tmp_path / f"stays/{n % 300}/gone"
            folder.mkdir()
            (folder / "x").touch()
            (folder / "x").unlink()
            folder.rmdir()
            n += 1

    thread = threading.Thread(target=churn)
    thread.start()
    try:
        for _ in range(20):
            assert len(found(execd, tmp_path / "stays", "file")) == 300
    finally:
        stop.set()
        thread.join()


def test_F16_proc_and_unreadable(execd):
    assert any(e["path"] == "/proc/self/status" or e["path"].endswith("/status")
               for e in search(execd, "/proc/self", "status").json())


def test_F16_client_that_goes_or_does_not_read(execd, tmp_path):
    """A search costs nothing once its client is gone, and does not run ahead of one that does not read."""
    root = tmp_path / "many"
    root.mkdir()
    for i in range(20_000):
        os.close(os.open(root / f"{i:05}{'x' * 100}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
    assert execd.client.get("/ping").status_code == 200
    before = len(fds(execd.pid))
    request = (f"GET /files/search?path={root} HTTP/1.1\r\nHost: x\r\n"
               f"X-EXECD-ACCESS-TOKEN: {TOKEN}\r\n\r\n").encode()
    memory = rss_kib(execd.pid)
    connections = []
    for _ in range(4):
        connection = execd.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request)
        assert connection.recv(100).startswith(b"HTTP/1.1 200 OK\r\n")
        connections.append(connection)
    assert execd.client.get("/ping").status_code == 200
    assert rss_kib(execd.pid) - memory < 16_000
    for connection in connections:
        connection.close()
    eventually(lambda: len(fds(execd.pid)) <= before, message="descriptors are left")


def test_F16_searches_at_once(execd, tmp_path):
    """The limit is typed, and an end makes room again."""
    for i in range(3000):
        os.close(os.open(tmp_path / f"{i:05}{'x' * 200}", os.O_CREAT | os.O_WRONLY | os.O_CLOEXEC))
    request = (f"GET /files/search?path={tmp_path} HTTP/1.1\r\nHost: x\r\n"
               f"X-EXECD-ACCESS-TOKEN: {TOKEN}\r\n\r\n").encode()
    connections = []
    for _ in range(16):
        connection = execd.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(request)
        assert connection.recv(1) == b"H"
        connections.append(connection)
    response = search(execd, tmp_path)
    assert response.status_code == 503 and response.json()["code"] == "SERVICE_UNAVAILABLE", json.dumps(response.json())
    for connection in connections:
        connection.close()
    eventually(lambda: search(execd, tmp_path, "none").status_code == 200, message="no room again")
