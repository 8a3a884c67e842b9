"""Changing files and folders: exact effects, nothing outside, nothing half done (hardening F)."""

import ctypes
import json
import os
import shutil
import stat
import subprocess
import tempfile
import threading
from pathlib import Path

import pytest

from harness.execd import eventually, rss_kib

ROOT = os.geteuid() == 0
LIBC = ctypes.CDLL(None, use_errno=True)
RENAME_EXCHANGE = 2


def remove(agent, *paths, kind="/files"):
    return agent.client.request("DELETE", kind, params={"path": [str(p) for p in paths]})


def post(agent, route, body, **options):
    return agent.client.post(route, json=body, **options)


def move(agent, *pairs):
    return post(agent, "/files/mv", [{"src": str(a), "dest": str(b)} for a, b in pairs])


def code(response):
    return response.status_code, response.json()["code"]


def mode_of(path):
    return stat.S_IMODE(os.lstat(path).st_mode)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "folder").mkdir()
    return tmp_path / "folder"


@pytest.fixture
def quick(folder):
    """A folder in memory where there is one: many small steps on a disk shared with others take long."""
    if not os.access("/dev/shm", os.W_OK):
        yield folder
        return
    other = Path(tempfile.mkdtemp(dir="/dev/shm", prefix="execd-test-"))
    yield other
    shutil.rmtree(other, ignore_errors=True)


@pytest.fixture
def other_device(folder):
    """A folder on another file system than `folder`."""
    for base in ("/dev/shm", "/tmp", "/var/tmp", "/run", "/work"):
        if os.access(base, os.W_OK) and os.stat(base).st_dev != os.stat(folder).st_dev:
            other = Path(tempfile.mkdtemp(dir=base, prefix="execd-test-"))
            yield other
            shutil.rmtree(other, ignore_errors=True)
            return
    pytest.fail("no second file system to move to")


# ---- remove ----

def test_remove_files(execd, folder):
    for name in "ab":
        (folder / name).write_text(name)
    os.symlink("a", folder / "link")
    os.symlink("nowhere", folder / "dangling")
    os.mkfifo(folder / "fifo")
    response = remove(execd, *(folder / n for n in ("link", "dangling", "fifo", "missing", "b")))
    assert response.status_code == 200 and not response.content
    assert os.listdir(folder) == ["a"]
    assert remove(execd).status_code == 200
    (folder / "folder").mkdir()
    response = remove(execd, folder / "a", folder / "folder", folder / "never")
    assert code(response) == (500, "RUNTIME_ERROR") and f"path is a directory: {folder}/folder" in response.json()["message"]
    assert os.listdir(folder) == ["folder"]


def test_F18_remove_trees(execd, quick):
    tree = quick / "tree"
    outside = quick / "outside"
    outside.mkdir()
    (outside / "keep").write_text("kept")
    for i in range(40):
        (tree / f"d{i}" / "e" / "f").mkdir(parents=True)
        for j in range(40):
            (tree / f"d{i}" / f"{j}").touch()
    os.symlink(outside, tree / "d3" / "e" / "link")
    os.symlink(outside, quick / "link")
    (quick / "file").touch()
    assert remove(execd, tree, quick / "link", quick / "file", quick / "gone", kind="/directories").status_code == 200
    assert os.listdir(quick) == ["outside"] and (outside / "keep").read_text() == "kept"


def test_F18_remove_very_deep(execd, quick):
    here = os.open(quick, os.O_RDONLY)
    fd = os.dup(here)
    os.mkdir("deep", dir_fd=fd)
    for _ in range(10_000):
        below = os.open("deep", os.O_RDONLY, dir_fd=fd)
        os.close(fd)
        fd = below
        os.mkdir("deep", dir_fd=fd)
    os.close(fd)
    assert remove(execd, quick / "deep", kind="/directories").status_code == 200
    assert os.listdir(here) == []
    os.close(here)


@pytest.mark.parametrize("path", ["/", "//", "/.", "/..", "/tmp/../.."])
def test_F18_root_is_refused(execd, path):
    assert code(remove(execd, path, kind="/directories")) == (403, "FORBIDDEN")
    assert code(remove(execd, path)) == (500, "RUNTIME_ERROR")
    assert os.path.isdir("/tmp")


@pytest.mark.skipif(not ROOT, reason="mounts need root")
def test_F18_mount_points_are_refused(execd, folder):
    mount = folder / "tree" / "a" / "mount"
    mount.mkdir(parents=True)
    other = folder / "other"
    other.mkdir()
    (other / "keep").write_text("kept")
    subprocess.run(["mount", "--bind", other, mount], check=True)
    try:
        assert code(remove(execd, folder / "tree", kind="/directories")) == (403, "FORBIDDEN")
        assert code(remove(execd, mount, kind="/directories")) == (403, "FORBIDDEN")
        assert code(move(execd, (mount, folder / "moved"))) == (403, "FORBIDDEN")
        assert (other / "keep").read_text() == "kept"
    finally:
        subprocess.run(["umount", mount], check=True)


def test_F18_api_lives_while_removing(execd, quick):
    tree = quick / "big"
    tree.mkdir()
    for i in range(30):
        (tree / str(i)).mkdir()
        for j in range(200):
            (tree / str(i) / str(j)).touch()
    answers = []
    thread = threading.Thread(target=lambda: answers.append(remove(execd, tree, kind="/directories").status_code))
    thread.start()
    while thread.is_alive():
        assert execd.client.get("/ping").status_code == 200
    thread.join()
    assert answers == [200] and not tree.exists()


# ---- permissions and folders ----

def test_permissions(execd, folder):
    path = folder / "f"
    path.write_text("x")
    path.chmod(0o600)
    before = path.stat()
    assert post(execd, "/files/permissions", {str(path): {"mode": 755}}).status_code == 200
    assert mode_of(path) == 0o755 and path.stat().st_uid == before.st_uid
    assert post(execd, "/files/permissions", {str(path): {"mode": 0}}).status_code == 200
    assert post(execd, "/files/permissions", {str(path): {}}).status_code == 200
    assert post(execd, "/files/permissions", {str(path): {"mode": 4711}}).status_code == 200
    assert mode_of(path) == 0o711
    assert post(execd, "/files/permissions", {}).status_code == 200
    if ROOT:
        assert post(execd, "/files/permissions", {str(path): {"owner": "nobody", "group": "daemon"}}).status_code == 200
        assert path.stat().st_uid == 65534 and path.stat().st_gid == 1
        assert mode_of(path) == 0o711


@pytest.mark.parametrize("value, wanted", [
    ({"mode": 888}, 400), ({"mode": 1_000_000_000}, 400), ({"mode": -1}, 400), ({"mode": "755"}, 400), ({"mode": 7.5}, 400),
    ({"group": "no-such-group"}, 400), ({"owner": "no-such-user"}, 400), ({"owner": 5}, 400), ([], 400), ("x", 400),
])
def test_F20_bad_permissions(execd, folder, value, wanted):
    path = folder / "f"
    path.touch(0o640)
    for route in ("/files/permissions", "/directories"):
        response = post(execd, route, {str(path): value, str(folder / "new"): value})
        assert code(response) == (wanted, "INVALID_REQUEST_BODY"), response.text
    assert mode_of(path) == 0o640 and os.listdir(folder) == ["f"]


def test_missing_is_404(execd, folder):
    gone = str(folder / "gone")
    for route, body in (("/files/permissions", {gone: {"mode": 644}}), ("/files/replace", {gone: {"old": "a", "new": "b"}}),
                        ("/files/mv", [{"src": gone, "dest": gone + "2"}])):
        response = post(execd, route, body)
        assert code(response) == (404, "FILE_NOT_FOUND") and response.json()["message"].startswith("file not found. "), response.text


def test_folders(execd, folder):
    new = folder / "a" / "b" / "c"
    assert post(execd, "/directories", {str(new): {"mode": 700}, str(folder / "d"): None}).status_code == 200
    assert mode_of(new) == 0o700 and mode_of(folder / "a") == 0o755 and mode_of(folder / "d") == 0o755
    assert post(execd, "/directories", {str(new): {"mode": 755}}).status_code == 200
    assert mode_of(new) == 0o700, "a folder that exists is left alone"
    (folder / "file").touch()
    assert code(post(execd, "/directories", {str(folder / "file"): {}})) == (500, "RUNTIME_ERROR")
    assert post(execd, "/directories", {"/": {}}).status_code == 200
    if ROOT:
        owned = folder / "o" / "p"
        assert post(execd, "/directories", {str(owned): {"owner": "nobody"}}).status_code == 200
        assert owned.stat().st_uid == 65534 and owned.parent.stat().st_uid == 65534


# ---- move ----

def test_F19_move(execd, folder):
    (folder / "f").write_text("f")
    (folder / "d" / "e").mkdir(parents=True)
    os.symlink("f", folder / "l")
    assert move(execd, (folder / "f", folder / "new/deep/g"), (folder / "d", folder / "h"), (folder / "l", folder / "m")).status_code == 200
    assert (folder / "new/deep/g").read_text() == "f" and (folder / "h/e").is_dir() and os.readlink(folder / "m") == "f"
    (folder / "x").write_text("x")
    for target in (folder / "x", folder / "h", folder / "m"):
        response = move(execd, (folder / "x", target))
        assert code(response) == (500, "RUNTIME_ERROR") and "destination path already exists" in response.json()["message"]
    assert code(move(execd, (folder / "h", folder / "h/e/child"))) == (400, "INVALID_REQUEST_BODY")
    assert code(move(execd, ("/", folder / "root"))) == (403, "FORBIDDEN")
    assert (folder / "x").read_text() == "x"


def test_F19_move_to_another_file_system(execd, folder, other_device):
    tree = folder / "tree"
    (tree / "sub" / "empty").mkdir(parents=True)
    data = os.urandom(5_000_000)
    (tree / "sub" / "data").write_bytes(data)
    (tree / "sub" / "data").chmod(0o4640)
    (tree / "sub").chmod(0o500)
    os.symlink("sub/data", tree / "link")
    os.mkfifo(tree / "fifo")
    with open(tree / "sparse", "wb") as f:
        f.truncate(1 << 30)
        f.seek(1 << 29)
        f.write(b"middle")
    os.utime(tree / "link", (1, 2), follow_symlinks=False)
    os.utime(tree / "sub" / "data", (1_000_000_000, 1_000_000_001))
    target = other_device / "moved"
    assert move(execd, (tree, target)).status_code == 200
    assert not tree.exists() and os.listdir(other_device) == ["moved"]
    moved = (target / "sub" / "data").stat()
    assert (target / "sub" / "data").read_bytes() == data and stat.S_IMODE(moved.st_mode) == 0o4640
    assert moved.st_mtime == 1_000_000_001 and mode_of(target / "sub") == 0o500
    assert os.readlink(target / "link") == "sub/data" and stat.S_ISFIFO(os.lstat(target / "fifo").st_mode)
    sparse = (target / "sparse").stat()
    assert sparse.st_size == 1 << 30 and sparse.st_blocks < 10_000
    with open(target / "sparse", "rb") as f:
        assert os.pread(f.fileno(), 6, 1 << 29) == b"middle"
    # and back, one file; onto something that exists
    assert move(execd, (target / "sub" / "data", folder / "back")).status_code == 200
    assert (folder / "back").read_bytes() == data
    assert code(move(execd, (folder / "back", target))) == (500, "RUNTIME_ERROR")
    assert (folder / "back").exists() and os.listdir(other_device) == ["moved"]


# ---- replace ----

def replace(agent, path, old, new, **options):
    return post(agent, "/files/replace", {str(path): {"old": old, "new": new}}, **options)


def test_replace(execd, folder):
    path = folder / "f"
    path.write_bytes(b"one two\r\none \x00\xff one")
    path.chmod(0o751)
    os.symlink("f", folder / "link")
    for params in ({}, {"verbose": "true"}):
        path.write_bytes(b"one two\r\none \x00\xff one")
        response = replace(execd, folder / "link", "one", "é", params=params)
        assert response.status_code == 200 and response.json() == {str(folder / "link"): {"replacedCount": 3}}
        assert path.read_bytes() == "é two\r\né ".encode() + b"\x00\xff " + "é".encode()
        assert mode_of(path) == 0o751 and (folder / "link").is_symlink()
    before = path.stat()
    assert replace(execd, path, "missing", "x").json() == {str(path): {"replacedCount": 0}}
    assert path.stat() == before
    assert replace(execd, path, "é", "").json() == {str(path): {"replacedCount": 3}}
    assert sorted(os.listdir(folder)) == ["f", "link"]


def test_F15_replace_across_pieces(execd, folder):
    path = folder / "f"
    old = "ab" * 700
    data = ("x" * 997 + old) * 700 + old[:-1]
    path.write_text(data)
    assert replace(execd, path, old, "<>").json() == {str(path): {"replacedCount": 700}}
    assert path.read_text() == data.replace(old, "<>")
    path.write_text("a" * 600_001)
    assert replace(execd, path, "aa", "b").json() == {str(path): {"replacedCount": 300_000}}
    assert path.read_text() == "b" * 300_000 + "a"


def test_F15_replace_has_bounds(execd, folder):
    path = folder / "f"
    path.write_bytes(b"a" * 1_000_000)
    before = rss_kib(execd.pid)
    response = replace(execd, path, "a", "b" * 1_000_000)
    assert code(response) == (413, "FILE_TOO_LARGE"), response.text
    assert rss_kib(execd.pid) - before < 40_000
    assert path.read_bytes() == b"a" * 1_000_000 and os.listdir(folder) == ["f"]
    with open(path, "r+b") as f:
        f.truncate(1 << 30)
    assert code(replace(execd, path, "a", "b")) == (413, "FILE_TOO_LARGE")
    os.mkfifo(folder / "fifo")
    for bad in (folder / "fifo", folder, "/dev/zero"):
        assert code(replace(execd, bad, "a", "b")) == (400, "INVALID_FILE")
    assert code(replace(execd, path.parent / "f", "", "b"))[0] == 400
    assert sorted(os.listdir(folder)) == ["f", "fifo"]


def test_F15_hard_links_keep_the_old_text(execd, folder):
    (folder / "f").write_text("old")
    os.link(folder / "f", folder / "g")
    assert replace(execd, folder / "f", "old", "new").status_code == 200
    assert (folder / "f").read_text() == "new" and (folder / "g").read_text() == "old"


# ---- links of others, exchanged names ----

@pytest.mark.skipif(not ROOT, reason="needs files of two users")
def test_F09_links_of_another_user(execd, folder):
    """What uid 1000 prepared leads nobody to what belongs to root."""
    folder.chmod(0o755)
    secret = folder / "secret"
    secret.mkdir(0o700)
    shadow = secret / "shadow"
    shadow.write_text("root:x")
    shadow.chmod(0o600)
    theirs = folder / "theirs"
    theirs.mkdir()
    (theirs / "own").write_text("mine")
    os.symlink(shadow, theirs / "to-file")
    os.symlink(secret, theirs / "to-folder")
    os.symlink(secret / "new", theirs / "to-nothing")
    os.symlink("own", theirs / "to-own")
    for name in (".", "own", "to-file", "to-folder", "to-nothing", "to-own"):
        os.chown(theirs / name, 1000, 1000, follow_symlinks=False)
    for path in ("to-file", "to-folder/shadow"):
        assert post(execd, "/files/permissions", {str(theirs / path): {"mode": 666}}).status_code == 500
        assert post(execd, "/files/permissions", {str(theirs / path): {"owner": "nobody"}}).status_code == 500
        assert replace(execd, theirs / path, "root", "toor").status_code == 500
    assert remove(execd, theirs / "to-folder/shadow").status_code == 500
    assert remove(execd, theirs / "to-folder/shadow", kind="/directories").status_code == 500
    assert move(execd, (theirs / "to-folder/shadow", folder / "stolen")).status_code == 500
    assert move(execd, (theirs / "own", theirs / "to-folder/planted")).status_code == 500
    assert post(execd, "/directories", {str(theirs / "to-folder/planted"): {}}).status_code == 500
    for path in ("to-file", "to-folder/shadow", "to-folder/planted", "to-nothing"):
        metadata = json.dumps({"path": str(theirs / path), "owner": "nobody"})
        response = execd.client.post("/files/upload", files=[("metadata", ("m", metadata)), ("file", ("f", b"taken"))])
        assert response.status_code == 500, (path, response.text)
    assert shadow.read_text() == "root:x" and mode_of(shadow) == 0o600 and shadow.stat().st_uid == 0
    assert os.listdir(secret) == ["shadow"]
    assert post(execd, "/files/permissions", {str(theirs / "to-own"): {"mode": 600}}).status_code == 200
    assert mode_of(theirs / "own") == 0o600
    assert remove(execd, theirs, kind="/directories").status_code == 200
    assert shadow.exists() and not theirs.exists()


@pytest.mark.skipif(not ROOT, reason="needs files of two users")
def test_F08_exchange_race(execd, folder):
    """A folder and a link to root's things change places all the time: nothing of root's is touched."""
    canary = folder / "canary"
    (canary / "sub").mkdir(parents=True)
    (canary / "sub" / "f").write_text("safe")
    (canary / "sub" / "f").chmod(0o600)
    play = folder / "play"
    play.mkdir()
    os.symlink(canary, play / "b")
    os.chown(play / "b", 1000, 1000, follow_symlinks=False)
    a, b = os.fsencode(play / "a"), os.fsencode(play / "b")
    stop = threading.Event()

    def exchange():
        while not stop.is_set():
            LIBC.renameat2(-100, a, -100, b, RENAME_EXCHANGE)

    thread = threading.Thread(target=exchange)
    thread.start()
    try:
        for _ in range(60):
            (play / "fresh" / "sub").mkdir(parents=True)
            (play / "fresh" / "sub" / "f").write_text("prey")
            if not os.path.lexists(a):
                os.rename(play / "fresh", a)
            path = str(play / "a" / "sub" / "f")
            post(execd, "/files/permissions", {path: {"mode": 777, "owner": "nobody"}})
            replace(execd, path, "safe", "lost")
            metadata = json.dumps({"path": path})
            execd.client.post("/files/upload", files=[("metadata", ("m", metadata)), ("file", ("f", b"lost"))])
            post(execd, "/directories", {str(play / "a" / "made"): {}})
            remove(execd, path)
            remove(execd, play / "a", kind="/directories")
            remove(execd, play / "fresh", kind="/directories")
            if not os.path.lexists(b) and not os.path.lexists(a):
                os.symlink(canary, b)
                os.chown(b, 1000, 1000, follow_symlinks=False)
    finally:
        stop.set()
        thread.join()
    assert (canary / "sub" / "f").read_text() == "safe" and mode_of(canary / "sub" / "f") == 0o600
    assert (canary / "sub" / "f").stat().st_uid == 0 and os.listdir(canary) == ["sub"]


# ---- names, sizes, kinds ----

def test_F06_a_link_to_itself_names_nothing(execd, folder):
    loop = folder / "loop"
    loop.symlink_to("loop")
    client, below = execd.client, f"{loop}/x"
    asked = [client.get(route, params={"path": path, **more}) for route, path, more in (
        ("/files/info", below, {}), ("/files/download", loop, {}), ("/files/search", below, {"pattern": "*"}),
        ("/directories/list", below, {}), ("/files/watch", loop, {}), ("/directories/tar", below, {}))]
    asked += [
        client.post("/files/mv", json=[{"src": below, "dest": str(folder / "b")}]),
        client.post("/files/replace", json={str(loop): {"old": "a", "new": "b"}}),
        client.post("/files/permissions", json={below: {"mode": 644}}),
        client.post("/directories", json={below: {"mode": 755}}),
        client.post("/files/upload", files=[("metadata", ("m", json.dumps({"path": below}))), ("file", ("f", b"x"))]),
    ]
    for response in asked:
        answer = response.status_code, response.json()["code"]
        assert answer == (404, "FILE_NOT_FOUND"), (response.url, response.text)
    assert client.get("/files/info", params={"path": str(loop)}).json()[str(loop)]["type"] == "symlink"
    assert client.delete("/files", params={"path": str(loop)}).status_code == 200 and not loop.is_symlink()


def test_F06_names(execd, folder):
    for name in ("new\nline", "tab\t\"quote\\", "$HOME-not", "é" * 100, "n" * 255, "~", "-rf"):
        path = str(folder / name)
        response = post(execd, "/directories", {path: {}})
        if name.startswith("$"):
            assert response.status_code in (200, 400)
            continue
        assert response.status_code == 200, response.text
        assert os.path.isdir(path)
        assert remove(execd, path, kind="/directories").status_code == 200
    too_long = "/" + "a/" * 2047 + "bb"
    for path in ("", too_long, "x\0y"):
        for route in ("/files/permissions", "/directories", "/files/replace"):
            assert post(execd, route, {path: {"old": "a", "new": "b"}}).status_code == 400, (route, path[:5])
        assert post(execd, "/files/mv", [{"src": path, "dest": "/tmp/x"}]).status_code == 400
    assert remove(execd, too_long).status_code == 400 and remove(execd, "").status_code == 400
    assert code(post(execd, "/directories", {str(folder / ("n" * 256)): {}}))[0] == 400


def test_F12_places_that_take_no_files(execd, folder):
    for path in ("/dev/null", "/proc/sys/kernel/hostname", "/sys/kernel/notes", str(folder), "/proc/new"):
        response = execd.client.post("/files/upload", files=[("metadata", ("m", json.dumps({"path": path}))), ("file", ("f", b"x"))])
        assert response.status_code in (400, 404, 500) and response.json()["code"], (path, response.text)
        assert post(execd, "/files/replace", {path: {"old": "a", "new": "b"}}).status_code in (400, 404, 500)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b"5", b'"x"', b"\xff", b"[" * 1000])
@pytest.mark.parametrize("route", ["/files/permissions", "/files/replace", "/directories", "/files/mv"])
def test_bad_bodies(execd, route, body):
    if body == b"[]" and route == "/files/mv":
        assert execd.client.post(route, content=body).status_code == 200
        return
    response = execd.client.post(route, content=body)
    assert code(response) == (400, "INVALID_REQUEST_BODY")
    assert response.json()["message"].startswith("error parsing request, MAYBE invalid body format. ")


def test_too_many_entries(execd, folder):
    body = {str(folder / str(i)): {"mode": 644} for i in range(10_001)}
    for route in ("/files/permissions", "/directories"):
        assert code(post(execd, route, body)) == (400, "INVALID_REQUEST_BODY")
    assert os.listdir(folder) == []


def test_a_move_whose_client_leaves_is_whole_or_nothing(execd, folder, other_device):
    tree = folder / "tree"
    tree.mkdir()
    for i in range(40):
        (tree / str(i)).write_bytes(os.urandom(1_000_000))
    connection = execd.connect()
    body = json.dumps([{"src": str(tree), "dest": str(other_device / "moved")}])
    connection.sendall((f"POST /files/mv HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: integration-token-5b1e\r\nContent-Length: {len(body)}\r\n\r\n{body}").encode())
    eventually(lambda: os.listdir(other_device))
    connection.close()
    eventually(lambda: os.listdir(other_device) in ([], ["moved"]) and (not tree.exists() or len(os.listdir(tree)) == 40))
    left = tree if tree.exists() else other_device / "moved"
    assert len(os.listdir(left)) == 40


# ---- lists ----

def listing(agent, path, **query):
    return agent.client.get("/directories/list", params={"path": str(path), **query})


def test_F17_list(execd, folder):
    (folder / "b" / "c" / "d").mkdir(parents=True)
    (folder / "b" / "z").touch()
    (folder / "a\nline").touch()
    os.symlink(folder, folder / "c-link")
    os.mkfifo(folder / "fifo")
    raw = os.fsencode(folder) + b"/\xff\xfe"
    open(raw, "w").close()
    first = [("a\nline", "file"), ("b", "directory"), ("c-link", "symlink"), ("fifo", "other"), ("\ufffd\ufffd", "file")]
    second = [("b/c", "directory"), ("b/z", "file")]

    def shown(**query):
        response = listing(execd, folder, **query)
        assert response.status_code == 200, response.text
        return [(entry["path"].removeprefix(f"{folder}/"), entry["type"]) for entry in response.json()]

    assert shown() == first and shown(depth=0) == []
    assert shown(depth=2) == first[:2] + second + first[2:]
    everything = first[:2] + second[:1] + [("b/c/d", "directory")] + second[1:] + first[2:]
    assert shown(depth=3) == everything and shown(depth=10**9) == everything
    entry = listing(execd, folder).json()[1]
    assert list(entry) == ["path", "type", "size", "modified_at", "created_at", "owner", "group", "mode"]


@pytest.mark.parametrize("depth", ["-1", "x", "1.5", "", "9" * 30, " 1"])
def test_F17_bad_depth(execd, folder, depth):
    response = listing(execd, folder, depth=depth)
    assert code(response) == (400, "INVALID_REQUEST_BODY") and f"invalid query parameter 'depth': {depth}" in response.json()["message"]


def test_F17_bad_roots(execd, folder):
    (folder / "file").touch()
    os.symlink(folder, folder / "link")
    assert code(listing(execd, folder / "file")) == (400, "INVALID_REQUEST_BODY")
    assert code(listing(execd, folder / "link", depth=0)) == (400, "INVALID_REQUEST_BODY")
    assert code(listing(execd, folder / "gone")) == (404, "FILE_NOT_FOUND")
    assert code(execd.client.get("/directories/list")) == (400, "MISSING_QUERY")


def test_F17_large_quick_is_streamed(execd, quick):
    for i in range(5_000):
        (quick / f"{i:05}").touch()
    before = rss_kib(execd.pid)
    entries = listing(execd, quick).json()
    assert [os.path.basename(entry["path"]) for entry in entries] == [f"{i:05}" for i in range(5_000)]
    assert rss_kib(execd.pid) - before < 20_000


# ---- facts ----

def test_F21_info(execd, folder):
    os.symlink("nowhere", folder / "dangling")
    (folder / "old").touch()
    os.utime(folder / "old", (-10**9, -10**9))
    path, old = str(folder / "dangling"), str(folder / "old")
    response = execd.client.get("/files/info", params={"path": [path, path, old]})
    assert response.status_code == 200 and list(response.json()) == [path, old]
    assert response.json()[path]["type"] == "symlink" and response.json()[path]["size"] == len("nowhere")
    assert response.json()[old]["modified_at"].startswith("1938-04-24T")
    assert execd.client.get("/files/info").json() == {}
    assert code(execd.client.get("/files/info", params={"path": [old, str(folder / "gone")]})) == (404, "FILE_NOT_FOUND")


def test_F04_huge_sparse_file(execd, folder):
    path = folder / "sparse"
    with open(path, "wb") as f:
        size = (1 << 40) + 1
        f.truncate(size)
    info = execd.client.get("/files/info", params={"path": str(path)}).json()[str(path)]
    assert info["size"] == size
    response = execd.client.get("/files/download", params={"path": str(path)}, headers={"Range": f"bytes={size - 3}-"})
    assert response.status_code == 206 and response.content == b"\0\0\0"
    assert move(execd, (path, folder / "moved")).status_code == 200 and (folder / "moved").stat().st_size == size


def test_F11_uploads_to_one_path(execd, folder):
    """The last one wins; whoever reads meanwhile sees one whole version."""
    path = folder / "f"
    versions = [bytes([65 + i]) * 500_000 for i in range(6)]

    def upload(data):
        with execd.new_client() as client:
            parts = [("metadata", ("m", json.dumps({"path": str(path)}))), ("file", ("f", data))]
            assert client.post("/files/upload", files=parts).status_code == 200

    upload(versions[0])
    threads = [threading.Thread(target=upload, args=(data,)) for data in versions]
    for thread in threads:
        thread.start()
    seen = set()
    while any(thread.is_alive() for thread in threads):
        seen.add(path.read_bytes())
    for thread in threads:
        thread.join()
    assert seen | {path.read_bytes()} <= set(versions) and os.listdir(folder) == ["f"]
