"""Files as another identity (contracts/v1.1.md 1.5): what root has stays closed, and nothing is done as execd."""

import hashlib
import json
import os
import shutil
import stat
import tempfile
import threading
from pathlib import Path

import pytest

from harness.execd import TOKEN, TOKEN_HEADER, Execd, children, eventually, rss_kib

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs the right to change identity")
UID, GID = 1000, 1000


def base(uid=UID, gid=GID):
    return f"/v1/filesystem/{uid}/{gid}"


def code(response):
    return response.status_code, response.json()["code"]


def upload(agent, path, data, prefix=None, **metadata):
    parts = [("metadata", ("m", json.dumps({"path": str(path), **metadata}))), ("file", ("f", data))]
    return agent.client.post((base() if prefix is None else prefix) + "/files/upload", files=parts)


def ask(agent, method, route, prefix=None, **options):
    return agent.client.request(method, (base() if prefix is None else prefix) + route, **options)


@pytest.fixture
def home():
    """A folder that uid 1000 owns and reaches."""
    folder = Path(tempfile.mkdtemp(prefix="execd-identity-"))
    os.chown(folder, UID, GID)
    yield folder
    shutil.rmtree(folder)


def test_the_hash_of_a_download_passes(execd, home):
    assert upload(execd, home / "f", b"hello").status_code == 200
    connection = execd.connect()
    connection.sendall(f"GET {base()}/files/download?path={home}/f&sha256=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                       f"{TOKEN_HEADER}: {TOKEN}\r\n\r\n".encode())
    answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"\r\nTrailer: X-Execd-Sha256\r\n" in answer
    assert answer.endswith(f"\r\n0\r\nX-Execd-Sha256: {hashlib.sha256(b'hello').hexdigest()}\r\n\r\n".encode())


def no_worker_left(agent):
    eventually(lambda: not children(agent.pid), message="a worker is left")


def test_every_route(execd, home):
    path, moved = home / "new/deep/f", home / "moved"
    assert upload(execd, path, b"hello hello", mode=640).status_code == 200
    made = path.stat()
    assert (made.st_uid, made.st_gid, stat.S_IMODE(made.st_mode)) == (UID, GID, 0o640) and path.parent.stat().st_uid == UID
    info = ask(execd, "GET", "/files/info", params={"path": str(path)})
    assert info.status_code == 200 and info.json()[str(path)]["size"] == 11
    response = ask(execd, "GET", "/files/download", params={"path": str(path)}, headers={"Range": "bytes=6-"})
    assert response.status_code == 206 and response.content == b"hello" and response.headers["content-range"] == "bytes 6-10/11"
    found = ask(execd, "GET", "/files/search", params={"path": str(home), "pattern": "*"}).json()
    assert [entry["path"] for entry in found] == [str(path)]
    assert ask(execd, "POST", "/files/replace", json={str(path): {"old": "hello", "new": "bye"}}).json() == {str(path): {"replacedCount": 2}}
    assert ask(execd, "POST", "/files/permissions", json={str(path): {"mode": 600}}).status_code == 200
    assert ask(execd, "POST", "/files/mv", json=[{"src": str(path), "dest": str(moved)}]).status_code == 200
    assert moved.read_bytes() == b"bye bye" and moved.stat().st_uid == UID and stat.S_IMODE(moved.stat().st_mode) == 0o600
    assert ask(execd, "POST", "/directories", json={str(home / "d/e"): {"mode": 700}}).status_code == 200
    listed = ask(execd, "GET", "/directories/list", params={"path": str(home), "depth": 2}).json()
    assert [entry["path"].removeprefix(f"{home}/") for entry in listed] == ["d", "d/e", "moved", "new", "new/deep"]
    assert all((home / name).stat().st_uid == UID for name in ("d", "d/e"))
    assert ask(execd, "DELETE", "/files", params={"path": str(moved)}).status_code == 200
    assert ask(execd, "DELETE", "/directories", params={"path": [str(home / "d"), str(home / "new")]}).status_code == 200
    assert os.listdir(home) == []
    no_worker_left(execd)


def test_what_root_has_stays_closed(execd, home):
    secret = home / "secret"
    secret.mkdir(0o700)
    os.chown(secret, 0, 0)
    (secret / "f").write_text("root's")
    own = home / "own"
    own.write_text("root's too")
    own.chmod(0o600)
    for path in (own, secret / "f", "/etc/shadow"):
        assert ask(execd, "GET", "/files/download", params={"path": str(path)}).status_code in (404, 500)
        for route, body in (("/files/permissions", {str(path): {"mode": 777}}), ("/files/replace", {str(path): {"old": "root", "new": "x"}}),
                            ("/files/permissions", {str(path): {"owner": "nobody"}})):
            assert ask(execd, "POST", route, json=body).status_code == 500, (route, path)
    for path in (secret / "f", "/etc/shadow"):
        assert upload(execd, path, b"taken").status_code == 500
        assert ask(execd, "DELETE", "/files", params={"path": str(path)}).status_code == 500
        assert ask(execd, "POST", "/files/mv", json=[{"src": str(path), "dest": str(home / "stolen")}]).status_code == 500
    assert ask(execd, "DELETE", "/directories", params={"path": str(secret)}).status_code == 500
    assert ask(execd, "GET", "/directories/list", params={"path": str(secret)}).status_code == 500
    assert (secret / "f").read_text() == "root's" and own.read_text() == "root's too"
    assert sorted(os.listdir(home)) == ["own", "secret"] and os.path.getsize("/etc/shadow") > 0


def test_owner_wishes_give_no_privilege(execd, home):
    for wish in ({"owner": "root"}, {"owner": "nobody"}, {"group": "root"}):
        response = upload(execd, home / "f", b"x", **wish)
        assert code(response) == (500, "RUNTIME_ERROR"), response.text
    assert os.listdir(home) == []


def test_F09_planted_link(execd, home):
    """What uid 1000 plants leads neither itself nor execd to root's files."""
    shadow = home / "shadow"
    shadow.write_text("root:x")
    shadow.chmod(0o600)
    os.chown(shadow, 0, 0)
    link = home / "u"
    os.symlink(shadow, link)
    os.chown(link, UID, GID, follow_symlinks=False)
    for prefix in (base(), ""):
        assert upload(execd, link, b"taken", prefix=prefix).status_code == 500
        assert ask(execd, "POST", "/files/permissions", prefix, json={str(link): {"mode": 666}}).status_code == 500
        assert ask(execd, "POST", "/files/permissions", prefix, json={str(link): {"owner": "nobody"}}).status_code == 500
    assert shadow.read_text() == "root:x" and shadow.stat().st_uid == 0 and stat.S_IMODE(shadow.stat().st_mode) == 0o600


@pytest.mark.parametrize("uid, gid", [("-1", 0), (0, "-1"), ("x", 0), (0, "x"), ("4294967295", 0), (0, "4294967295"), ("99999999999999999999", 0),
                                      ("1.0", 0), ("0x1", 0), ("+1", 0), ("1000", "files"), ("%31 ", 0), ("root", "root")])
def test_bad_ids(execd, uid, gid):
    response = ask(execd, "GET", "/files/info", base(uid, gid))
    assert code(response) == (400, "INVALID_REQUEST_BODY"), response.text


def test_identity_of_the_worker(execd, home):
    """An id without an account has no group but its own; nothing of execd is left in the process."""
    free = 4_294_967_294
    os.chown(home, free, free)
    with execd.connect() as connection:
        body = b"--b\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"m\"\r\n\r\n"
        head = (f"POST {base(free, free)}/files/upload HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n"
                "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n").encode()
        connection.sendall(head + body)
        (pid, _), = eventually(lambda: children(execd.pid))
        process = Path(f"/proc/{pid}")
        eventually(lambda: b"file-worker" in (process / "cmdline").read_bytes())
        status = dict(line.split(":\t", 1) for line in (process / "status").read_text().splitlines() if ":\t" in line)
        assert status["Uid"].split() == [str(free)] * 4 and status["Gid"].split() == [str(free)] * 4
        assert status["Groups"].split() == []
        assert all(int(status[name], 16) == 0 for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
        assert status["NoNewPrivs"].strip() == "1" and os.readlink(process / "cwd") == "/"
        environ = (process / "environ").read_bytes().split(b"\0")
        assert sorted(environ) == [b"", b"HOME=/", b"LANG=C.UTF-8", b"PATH=/usr/bin:/bin"]
        assert TOKEN.encode() not in (process / "cmdline").read_bytes()
        limits = (process / "limits").read_text()
        assert limits.split("Max core file size")[1].split()[:2] == ["0", "0"]
        sockets = [os.readlink(fd) for fd in (process / "fd").iterdir()]
        assert sum(name.startswith("socket:") for name in sockets) == 1
    no_worker_left(execd)


def test_root_may_do_with_files_what_root_may(execd, home):
    path = home / "f"
    assert upload(execd, path, b"x", prefix=base(0, 0), owner="nobody", mode=600).status_code == 200
    assert path.stat().st_uid == 65534
    response = ask(execd, "GET", "/files/download", base(0, 0), params={"path": str(path)})
    assert response.content == b"x"


def test_home_and_relative_paths(execd, home):
    response = ask(execd, "GET", "/files/info", base(4_000_000_000, 0), params={"path": ["~", "tmp", "."]}).json()
    assert {key: entry["path"] for key, entry in response.items()} == {"~": "/", "tmp": "/tmp", ".": "/"}
    response = ask(execd, "GET", "/files/info", base(0, 0), params={"path": "~"}).json()
    assert response["~"]["path"] == "/root"


def test_other_routes_are_not_there(execd):
    for method, route in (("POST", "/command"), ("GET", "/metrics"), ("GET", "/ping"), ("GET", base() + "/files/info"), ("GET", "/"), ("GET", "/proxy/1/")):
        assert code(ask(execd, method, route)) == (404, "NOT_FOUND"), route
    assert code(ask(execd, "PUT", "/files/info")) == (405, "METHOD_NOT_ALLOWED")
    with execd.new_client(token=None) as client:
        assert client.get(base() + "/files/info").status_code == 401
    with execd.new_client(token="wrong") as client:
        assert client.get(base() + "/files/info", params={"path": "/"}).status_code == 401


def test_large_files_stream_both_ways(execd, home):
    data = os.urandom(1 << 20) * 48
    before = rss_kib(execd.pid)
    assert upload(execd, home / "f", data).status_code == 200
    response = ask(execd, "GET", "/files/download", params={"path": str(home / "f")})
    assert hashlib.sha256(response.content).digest() == hashlib.sha256(data).digest()
    assert rss_kib(execd.pid) - before < 16_000


def test_a_client_that_leaves_ends_the_worker(execd, home):
    data = os.urandom(1 << 20) * 16
    assert upload(execd, home / "f", data).status_code == 200
    with execd.connect() as connection:
        connection.sendall(f"GET {base()}/files/download?path={home}/f HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n\r\n".encode())
        assert connection.recv(100).startswith(b"HTTP/1.1 200 ")
    no_worker_left(execd)


def test_many_at_once(execd, home):
    """More than 64 at once are refused, with a type; those that run are not disturbed."""
    connections = []
    head = (f"POST {base()}/files/upload HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n"
            "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000\r\n\r\n").encode()
    try:
        for _ in range(64):
            connection = execd.connect()
            connection.sendall(head)
            connections.append(connection)
        eventually(lambda: len(children(execd.pid)) == 64, limit_s=20)
        assert code(ask(execd, "GET", "/files/info")) == (503, "SERVICE_UNAVAILABLE")
        assert execd.client.get("/files/info", params={"path": "/"}).status_code == 200
    finally:
        for connection in connections:
            connection.close()
    no_worker_left(execd)
    assert ask(execd, "GET", "/files/info").status_code == 200


def test_without_the_right_to_change_identity(tmp_path, home):
    os.chown(home, UID, GID)
    with Execd(home, launcher=("setpriv", f"--reuid={UID}", f"--regid={GID}", "--clear-groups", "--inh-caps=-all")) as agent:
        response = ask(agent, "GET", "/files/info", base(0, 0), params={"path": "/"})
        assert code(response) == (501, "NOT_SUPPORTED"), response.text
        assert "needs CAP_SETUID" in response.json()["message"]
