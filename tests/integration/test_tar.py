"""Folders as archives, both ways: exact trees, and nothing that leaves the folder (hardening F22)."""

import io
import os
import stat
import subprocess
import tarfile

import pytest

from harness.execd import eventually, fds, rss_kib


def pack(agent, path):
    return agent.client.get("/directories/tar", params={"path": str(path)})


def unpack(agent, path, data, **params):
    return agent.client.post("/directories/tar", params={"path": str(path), **params}, content=data)


def archive(*members, fmt=tarfile.GNU_FORMAT):
    """Members: (name, content) for files, (name, type, link) for others; more attributes as a dictionary at the end."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as tar:
        for name, *rest in members:
            info = tarfile.TarInfo(name)
            attributes = rest.pop() if isinstance(rest[-1], dict) else {}
            content = b""
            if isinstance(rest[0], bytes) and len(rest[0]) != 1 or len(rest) == 1:
                content = rest[0]
                info.size = len(content)
            else:
                info.type, info.linkname = rest
            for key, value in attributes.items():
                setattr(info, key, value)
            tar.addfile(info, io.BytesIO(content))
    return out.getvalue()


def snapshot(root):
    """Everything that a tree is: kind, mode, content or target, by path."""
    found = {}
    for folder, folders, files in os.walk(root):
        for name in folders + files:
            path = os.path.join(folder, name)
            st = os.lstat(path)
            what = os.readlink(path) if stat.S_ISLNK(st.st_mode) else None
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as file:
                    what = (file.read(), int(st.st_mtime))
            found[os.path.relpath(path, root)] = (stat.S_IFMT(st.st_mode),
                                                  0 if stat.S_ISLNK(st.st_mode) else st.st_mode & 0o777, what)
    return found


@pytest.fixture
def tree(tmp_path):
    root = tmp_path / "tree"
    (root / "a/b/empty").mkdir(parents=True)
    (root / "a/b/f").write_bytes(os.urandom(1_000_001))
    (root / "a/b/f").chmod(0o751)
    (root / "zero").touch()
    (root / "ünï code\n").write_text("x" * 512)
    (root / ("n" * 200)).write_text("long name")
    deep = root / "/".join(["d" * 90] * 6)
    deep.mkdir(parents=True)
    (deep / "f").write_text("deep")
    (root / "link").symlink_to("a/b/f")
    (root / "away").symlink_to("/etc/" + "x" * 150)
    (root / "a/closed").mkdir(mode=0o500)
    os.utime(root / "zero", (1_000_000_000, 1_000_000_000))
    return root


def test_there_and_back(execd, tree, tmp_path):
    response = pack(execd, tree)
    assert response.status_code == 200 and response.headers["content-type"] == "application/x-tar"
    wanted = snapshot(tree)
    answer = unpack(execd, tmp_path / "copy/of/it", response.content)
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"members": len(wanted), "bytes": sum(p.stat().st_size for p in tree.rglob("*")
                                                                  if p.is_file() and not p.is_symlink())}
    assert snapshot(tmp_path / "copy/of/it") == wanted
    again = pack(execd, tmp_path / "copy/of/it")
    assert unpack(execd, tmp_path / "copy/of/it", again.content).status_code == 200  # over what is there
    assert snapshot(tmp_path / "copy/of/it") == wanted


def test_other_programs_read_and_write_the_same(execd, tree, tmp_path):
    (tmp_path / "packed.tar").write_bytes(pack(execd, tree).content)
    (tmp_path / "out").mkdir()
    subprocess.run(["tar", "-C", tmp_path / "out", "-xpf", tmp_path / "packed.tar"], check=True)
    assert snapshot(tmp_path / "out") == snapshot(tree)
    for kind in ("gnu", "posix"):
        data = subprocess.run(["tar", "-C", tree, f"--format={kind}", "-cf", "-", "."], check=True,
                              capture_output=True).stdout
        assert unpack(execd, tmp_path / kind, data).status_code == 200
        assert snapshot(tmp_path / kind) == snapshot(tree)


@pytest.mark.parametrize("members", [
    [("../evil", b"x")], [("a/../../evil", b"x")], [("/evil", b"x")], [("..", tarfile.DIRTYPE, "")],
    [("out", tarfile.SYMTYPE, ".."), ("out/evil", b"x")],
    [("out", tarfile.SYMTYPE, "/"), ("out/tmp/evil-from-tar", b"x")],
    [("d", tarfile.DIRTYPE, ""), ("d/out", tarfile.SYMTYPE, "../.."), ("d/out/evil", tarfile.DIRTYPE, "")],
    [("out", tarfile.SYMTYPE, ".."), ("evil", tarfile.LNKTYPE, "out/secret")],
    [("evil", tarfile.LNKTYPE, "../secret")], [("evil", tarfile.LNKTYPE, "/etc/passwd")],
    [("dev", tarfile.CHRTYPE, "", {"devmajor": 1, "devminor": 3})], [("dev", tarfile.BLKTYPE, "")],
    [("fifo", tarfile.FIFOTYPE, "")], [(".", b"x")], [("f", b"x"), ("f/g", b"y")],
], ids=str)
@pytest.mark.parametrize("fmt", [tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_F22_nothing_leaves_the_folder(execd, tmp_path, members, fmt):
    (tmp_path / "secret").write_text("secret")
    before = {path for path in tmp_path.iterdir()}
    response = unpack(execd, tmp_path / "root", archive(*members, fmt=fmt))
    assert response.status_code == 400 and response.json()["code"] == "INVALID_FILE", response.text
    assert {path for path in tmp_path.iterdir()} - before <= {tmp_path / "root"}
    assert not os.path.exists("/tmp/evil-from-tar") and not os.path.exists("/evil")
    assert not [p for p in (tmp_path / "root").rglob("*") if p.name.startswith(".execd-")]


def test_F22_planted_links_are_replaced_not_followed(execd, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "victim").write_text("old")
    (tmp_path / "folder").mkdir()
    (root / "f").symlink_to(tmp_path / "victim")
    (root / "d").symlink_to(tmp_path / "folder")
    assert unpack(execd, root, archive(("f", b"new"))).status_code == 200
    assert (tmp_path / "victim").read_text() == "old" and (root / "f").read_text() == "new"
    assert not (root / "f").is_symlink()
    assert unpack(execd, root, archive(("d/x", b"new"))).status_code == 400
    assert not list((tmp_path / "folder").iterdir())
    assert unpack(execd, root, archive(("s", tarfile.SYMTYPE, "/etc/passwd"), ("s", b"mine"))).status_code == 200
    assert (root / "s").read_text() == "mine" and not (root / "s").is_symlink()


def test_set_id_bits_and_owners_only_when_asked(execd, tmp_path):
    data = archive(("f", b"x", {"mode": 0o6755, "uid": 4321, "gid": 1234}), ("d", tarfile.DIRTYPE, "", {"mode": 0o1777}))
    assert unpack(execd, tmp_path / "plain", data).status_code == 200
    st = (tmp_path / "plain/f").stat()
    assert st.st_mode & 0o7777 == 0o755 and st.st_uid == os.geteuid()
    assert (tmp_path / "plain/d").stat().st_mode & 0o7777 == 0o777
    assert unpack(execd, tmp_path / "kept", data, keep_owner="true", keep_set_id="true").status_code == 200
    st = (tmp_path / "kept/f").stat()
    assert st.st_mode & 0o7777 == 0o6755 and (st.st_uid, st.st_gid) == (4321, 1234)


def test_hard_links(execd, tmp_path):
    data = archive(("a/f", b"one"), ("g", tarfile.LNKTYPE, "a/f"), ("g", tarfile.LNKTYPE, "./a//f"))
    assert unpack(execd, tmp_path / "r", data).status_code == 200
    assert (tmp_path / "r/g").samefile(tmp_path / "r/a/f")
    assert sorted(p.name for p in (tmp_path / "r").iterdir()) == ["a", "g"]


@pytest.mark.parametrize("data", [
    b"", b"x" * 511, b"x" * 5000, archive(("f", b"x" * 5000))[:3000], archive(("f", b"x"))[:100],
    b"\x1f\x8b" + b"x" * 1000,
], ids=len)
def test_archives_that_are_none(execd, tmp_path, data):
    response = unpack(execd, tmp_path / "root", data)
    assert response.status_code == 400 and response.json()["code"] == "INVALID_FILE", response.text
    assert list((tmp_path / "root").iterdir()) == []


def test_bad_input(execd, tmp_path):
    (tmp_path / "file").touch()
    assert execd.client.get("/directories/tar").json()["code"] == "MISSING_QUERY"
    assert execd.client.post("/directories/tar").json()["code"] == "MISSING_QUERY"
    assert pack(execd, tmp_path / "missing").status_code == 404
    assert pack(execd, tmp_path / "file").status_code == 400
    assert unpack(execd, tmp_path / "file", archive(("f", b"x"))).status_code == 400
    assert unpack(execd, tmp_path, archive(("f", b"x")), keep_owner="maybe").status_code == 400


def test_what_cannot_be_packed_is_counted(execd, tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    (root / "f").write_text("x")
    os.mkfifo(root / "fifo")
    os.mknod(root / "dev", stat.S_IFCHR | 0o600, os.makedev(1, 3))
    connection = execd.connect()
    connection.sendall((f"GET /directories/tar?path={root} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                        f"X-EXECD-ACCESS-TOKEN: {execd.token}\r\n\r\n").encode())
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.endswith(b"0\r\nX-Execd-Skipped: 2\r\n\r\n")
    with tarfile.open(fileobj=io.BytesIO(pack(execd, root).content)) as tar:
        assert tar.getnames() == ["f"]


def test_large_trees_in_flat_memory(execd, tmp_path):
    root = tmp_path / "root"
    for i in range(1000):
        (root / f"{i % 50}").mkdir(parents=True, exist_ok=True)
        (root / f"{i % 50}/{i}").write_bytes(b"%d" % i * 100)
    with open(root / "large", "wb") as file:
        for _ in range(30):
            file.write(os.urandom(1 << 20))
    execd.client.get("/ping")
    before = rss_kib(execd.pid)
    data = pack(execd, root).content
    pieces = (data[i:i + 65536] for i in range(0, len(data), 65536))
    assert unpack(execd, tmp_path / "copy", pieces).status_code == 200
    assert snapshot(tmp_path / "copy") == snapshot(root)
    assert rss_kib(execd.pid) - before < 4096


def test_clients_that_go(execd, tmp_path):
    """In the middle of either way nothing stays: no descriptor, no half file."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "large").write_bytes(bytes(20 << 20))
    data = archive(("one", b"1" * 100), ("two", bytes(20 << 20)))
    execd.client.get("/ping")
    before = len(fds(execd.pid))
    for _ in range(5):
        connection = execd.connect()
        connection.sendall((f"GET /directories/tar?path={root} HTTP/1.1\r\nHost: x\r\n"
                            f"X-EXECD-ACCESS-TOKEN: {execd.token}\r\n\r\n").encode())
        assert connection.recv(100)
        connection.close()
        connection = execd.connect()
        connection.sendall((f"POST /directories/tar?path={tmp_path}/out HTTP/1.1\r\nHost: x\r\n"
                            f"Content-Length: {len(data)}\r\nX-EXECD-ACCESS-TOKEN: {execd.token}\r\n\r\n").encode()
                           + data[:6 << 20])
        eventually(lambda: (tmp_path / "out/one").exists(), message="nothing arrives")
        connection.close()
    eventually(lambda: len(fds(execd.pid)) <= before, message="descriptors are left")
    eventually(lambda: [p.name for p in (tmp_path / "out").iterdir()] == ["one"], message="a half file is left")
