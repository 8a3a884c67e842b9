"""Large and hostile transfers: exact bytes or a visible cut, flat memory (hardening F)."""

import hashlib
import io
import json
import os
import random
import socket
import threading
import zipfile

import pytest

from harness import web
from harness.execd import TOKEN, TOKEN_HEADER, eventually, rss_kib

SIZE = 24 << 20


def download(agent, path, **headers):
    return agent.client.get("/files/download", params={"path": str(path)}, headers=headers)


def request_download(connection, path):
    connection.sendall((f"GET /files/download?path={path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                        f"X-EXECD-ACCESS-TOKEN: {TOKEN}\r\n\r\n").encode())


def read_all(connection, limit=None):
    """Head and as much of the body as comes; `limit` stops earlier."""
    data = b""
    while limit is None or len(data) < limit:
        try:
            piece = connection.recv(1 << 16)
        except ConnectionResetError:
            break
        if not piece:
            break
        data += piece
    return data


@pytest.fixture(scope="module")
def large(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large"
    path.write_bytes(random.Random(5).randbytes(SIZE))
    return path


def test_large_files_over_both_kinds_of_sockets(execd, large):
    whole = large.read_bytes()
    assert download(execd, large).content == whole
    response = web.get(f"http://127.0.0.1:{execd.port}/files/download", params={"path": str(large)},
                         headers={TOKEN_HEADER: TOKEN})
    assert response.content == whole


def test_F05_ranges_of_a_large_file(execd, large):
    whole = large.read_bytes()
    rnd = random.Random(7)
    for _ in range(20):
        first = rnd.randrange(SIZE)
        last = min(SIZE - 1, first + rnd.choice((0, 1, 4095, 4096, 1 << 20, SIZE)))
        response = download(execd, large, Range=f"bytes={first}-{last}")
        assert response.status_code == 206 and response.content == whole[first:last + 1]
        assert response.headers["content-range"] == f"bytes {first}-{last}/{SIZE}"


@pytest.mark.parametrize("given, status, content", [
    ("bytes=0-0", 206, b"0"), ("bytes=-1", 206, b"9"), ("bytes=5-", 206, b"56789"), ("bytes=8-99", 206, b"89"),
    ("bytes=-99", 206, b"0123456789"), ("bytes=-0", 416, None), ("bytes=10-", 416, None), ("bytes=9-3", 416, None),
    ("bytes=99999999999999999999-", 416, None), ("bytes=0-9,20-29", 206, b"0123456789"),
    ("bytes=20-29,3-4", 206, b"34"), ("lines=1-2", 416, None), ("bytes=", 416, None), ("bytes=a-b", 416, None),
])
def test_F05_ranges(execd, tmp_path, given, status, content):
    (tmp_path / "f").write_bytes(b"0123456789")
    response = download(execd, tmp_path / "f", Range=given)
    assert response.status_code == status, response.text
    if content is None:
        assert response.headers["content-range"] == "bytes */10" and response.json()["code"] == "RANGE_NOT_SATISFIABLE"
    else:
        assert response.content == content


def test_F05_many_ranges_are_not_multiplied(execd, tmp_path):
    (tmp_path / "f").write_bytes(b"x" * 1000)
    for count in (17, 1000, 5000):
        response = download(execd, tmp_path / "f", Range="bytes=" + ",".join(["0-"] * count))
        assert response.status_code in (200, 206, 416) and len(response.content) <= 1000


@pytest.mark.parametrize("keep", [0, 1, 4097, SIZE // 2 + 5, SIZE - 1, SIZE - 100_000])
def test_F03_a_file_that_shrinks_is_cut_never_padded(execd, tmp_path, keep):
    """Truncated after the head was sent, while the client waits: what comes is a true prefix, or all of it."""
    path = tmp_path / "shrinks"
    whole = random.Random(keep).randbytes(SIZE)
    path.write_bytes(whole)
    connection = execd.connect()
    request_download(connection, path)
    data = read_all(connection, 1000)
    os.truncate(path, keep)
    data += read_all(connection)
    head, _, body = data.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and f"Content-Length: {SIZE}".encode() in head
    assert len(body) < SIZE
    prefix = min(len(body), keep)
    assert body[:prefix] == whole[:prefix]


def test_F03_truncation_at_the_end_is_seen_or_harmless(execd, tmp_path):
    """Whenever the whole length comes, every byte is one that the file had: a truncation is no source of zeros."""
    path = tmp_path / "shrinks"
    size = 2 << 20
    whole = b"x" * size
    complete = 0
    for i in range(60):
        path.write_bytes(whole)
        connection = execd.connect()
        request_download(connection, path)
        data = read_all(connection, size - 700_000 + i * 10_000)
        os.truncate(path, size - 650_000 + i * 7_001)
        data += read_all(connection)
        connection.close()
        body = data.partition(b"\r\n\r\n")[2]
        if len(body) == size:
            complete += 1
            assert body == whole, f"zeros from {body.index(0)} on, of {size}"
    assert complete < 60


def test_F03_replaced_and_growing(execd, tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"a" * SIZE)
    connection = execd.connect()
    request_download(connection, path)
    data = read_all(connection, 1000)
    with open(path, "ab") as file:
        file.write(b"more" * 1000)
    (tmp_path / "new").write_bytes(b"b" * 10)
    os.replace(tmp_path / "new", path)
    data += read_all(connection)
    assert data.partition(b"\r\n\r\n")[2] == b"a" * SIZE


def test_F14_memory_stays_flat(execd, large, tmp_path):
    """Both ways, a reader that stops, and nothing of a file's size stays."""
    execd.client.get("/ping")
    before = rss_kib(execd.pid)
    stopped = execd.connect()
    request_download(stopped, large)
    assert stopped.recv(10)
    for i in range(3):
        response = execd.client.post("/files/upload", files=[
            ("metadata", ("metadata", json.dumps({"path": str(tmp_path / "copy")}))), ("file", ("f", large.open("rb")))])
        assert response.status_code == 200
        assert download(execd, tmp_path / "copy").content == large.read_bytes()
    assert rss_kib(execd.pid) - before < 4096
    stopped.close()


def test_F22_archives_are_stored_as_they_are(execd, tmp_path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", bytes(50 << 20))
    response = execd.client.post("/files/upload", files=[
        ("metadata", ("metadata", json.dumps({"path": str(tmp_path / "bomb.zip")}))),
        ("file", ("bomb.zip", bomb.getvalue(), "application/zip"))])
    assert response.status_code == 200
    assert (tmp_path / "bomb.zip").read_bytes() == bomb.getvalue()
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_file()) == ["bomb.zip"]


@pytest.mark.parametrize("name", ["a\r\nX-Injected: y", 'quo"te\\', "new\nline", "tab\there", "ü\r\n\r\nbody"])
def test_D65_names_cannot_split_a_response(execd, tmp_path, name):
    (tmp_path / name).write_bytes(b"content")
    response = download(execd, tmp_path / name)
    assert response.status_code == 200 and response.content == b"content"
    assert "x-injected" not in response.headers
    assert "\n" not in response.headers["content-disposition"] and "\r" not in response.headers["content-disposition"]


def test_many_downloads_do_not_hold_each_other_up(execd, large):
    """Clients that read nothing hold no thread and no turn of the loop."""
    lazy = []
    for _ in range(30):
        connection = execd.connect()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        request_download(connection, large)
        lazy.append(connection)
    sizes = []

    def fetch():
        with execd.new_client() as client:
            sizes.append(len(client.get("/files/download", params={"path": str(large)}).content))

    threads = [threading.Thread(target=fetch) for _ in range(4)]
    for thread in threads:
        thread.start()
    eventually(lambda: len(sizes) == 4, message="a download hangs")
    assert sizes == [SIZE] * 4
    for thread in threads:
        thread.join()
    for connection in lazy:
        connection.close()


def test_cold_files_are_read_too(execd, tmp_path):
    """Not in the page cache: the pool reads first."""
    path = tmp_path / "cold"
    whole = random.Random(3).randbytes(5 << 20)
    path.write_bytes(whole)
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    assert download(execd, path).content == whole


# ---- hashes and parts


def upload(agent, metadata, content):
    return agent.client.post("/files/upload", files=[("metadata", ("metadata", json.dumps(metadata))), ("file", ("f", content))])


def test_F10_an_upload_with_the_wrong_hash_leaves_the_old_file(execd, tmp_path):
    path, content = tmp_path / "f", random.Random(1).randbytes(20 << 20)
    path.write_text("old")
    right = hashlib.sha256(content).hexdigest()
    response = upload(execd, {"path": str(path), "sha256": "0" * 64}, content)
    assert response.status_code == 400 and response.json()["code"] == "INVALID_FILE_CONTENT", response.text
    assert path.read_text() == "old" and not [name for name in os.listdir(tmp_path) if name.startswith(".")]
    assert upload(execd, {"path": str(path), "sha256": right.upper()}, content).status_code == 200
    assert path.read_bytes() == content
    for bad in ("x" * 64, "00", right + "0", 5):
        response = upload(execd, {"path": str(path), "sha256": bad}, b"new")
        assert response.status_code == 400 and response.json()["code"] == "INVALID_FILE_METADATA"
    assert path.read_bytes() == content


def state(agent, path):
    response = agent.client.get("/files/upload", params={"path": str(path)})
    return response.json()["offset"] if response.status_code == 200 else response.json()["code"]


def test_an_upload_in_parts(execd, tmp_path):
    path, content = tmp_path / "new/f", random.Random(2).randbytes(300_000)
    total = len(content)
    assert state(execd, path) == "FILE_NOT_FOUND"
    assert upload(execd, {"path": str(path), "offset": 0, "total": total}, content[:100_000]).status_code == 200
    assert state(execd, path) == 100_000 and not path.exists()
    for wrong in (1, 99_999, 100_001):
        response = upload(execd, {"path": str(path), "offset": wrong, "total": total}, b"x")
        assert response.status_code == 409 and response.json()["code"] == "UPLOAD_CONFLICT"
    assert upload(execd, {"path": str(path), "offset": 100_000, "total": total}, content[100_000:]).status_code == 200
    assert path.read_bytes() == content and state(execd, path) == "FILE_NOT_FOUND"
    assert os.listdir(path.parent) == ["f"]


def test_a_broken_upload_goes_on_where_it_stopped(execd, tmp_path):
    path, content = tmp_path / "f", random.Random(3).randbytes(3_000_000)
    path.write_text("old")
    path.chmod(0o640)
    digest = hashlib.sha256(content).hexdigest()
    head = (f'--b\r\nContent-Disposition: form-data; name="metadata"; filename="m"\r\n\r\n'
            f'{json.dumps({"path": str(path), "offset": 0, "total": len(content)})}\r\n--b\r\n'
            f'Content-Disposition: form-data; name="file"; filename="f"\r\n\r\n').encode()
    connection = execd.connect()
    connection.sendall((f"POST /files/upload HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: {TOKEN}\r\n"
                        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 9000000\r\n\r\n").encode()
                       + head + content[:1_000_000])
    eventually(lambda: isinstance(state(execd, path), int) and state(execd, path) > 900_000, message="nothing arrives")
    response = upload(execd, {"path": str(path), "offset": state(execd, path)}, b"x")
    assert response.status_code == 409, "two writers at once"
    connection.close()
    at = eventually(lambda: upload(execd, {"path": str(path), "offset": 10 ** 12}, b"").json()["message"].startswith("offset")
                    and state(execd, path), message="the lock stays")
    assert path.read_text() == "old"
    metadata = {"path": str(path), "offset": at, "sha256": digest}
    assert upload(execd, metadata, content[at:]).status_code == 200
    assert path.read_bytes() == content and path.stat().st_mode & 0o777 == 0o640


def test_parts_are_refused_typed(execd, tmp_path):
    path = tmp_path / "f"
    for metadata in ({"total": 5}, {"offset": 6, "total": 5}, {"offset": -1}, {"offset": "0"}):
        response = upload(execd, {"path": str(path), **metadata}, b"x")
        assert response.status_code == 400 and response.json()["code"] == "INVALID_FILE_METADATA", response.text
    response = upload(execd, {"path": str(path), "offset": 5}, b"x")
    assert response.status_code == 409
    response = upload(execd, {"path": str(path), "offset": 0, "total": 3}, b"12345")
    assert response.status_code == 400 and response.json()["code"] == "INVALID_FILE_CONTENT"
    response = upload(execd, {"path": str(path), "offset": 0, "sha256": "0" * 64}, b"12345")
    assert response.status_code == 400 and state(execd, path) == "FILE_NOT_FOUND"  # worthless parts are gone
    (tmp_path / ".f.execd-part").symlink_to(tmp_path / "elsewhere")
    assert upload(execd, {"path": str(path), "offset": 0}, b"12345").status_code in (400, 500)
    assert not (tmp_path / "elsewhere").exists() and not path.exists()
    os.unlink(tmp_path / ".f.execd-part")
    (tmp_path / ".f.execd-part").write_text("planted")
    os.chown(tmp_path / ".f.execd-part", 4321, 4321)
    assert upload(execd, {"path": str(path), "offset": 0}, b"12345").status_code == 400
    assert (tmp_path / ".f.execd-part").read_text() == "planted"
    assert execd.client.get("/files/upload").json()["code"] == "MISSING_QUERY"
    assert upload(execd, {"path": str(tmp_path / ("n" * 250)), "offset": 0}, b"x").status_code == 400


def test_the_hash_of_a_download_follows_it(execd, large, tmp_path):
    whole = large.read_bytes()
    for headers, sent in (("", whole), ("Range: bytes=5-1000004\r\n", whole[5:1_000_005])):
        connection = execd.connect()
        connection.sendall((f"GET /files/download?path={large}&sha256=true HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
                            f"X-EXECD-ACCESS-TOKEN: {TOKEN}\r\n{headers}\r\n").encode())
        answer = read_all(connection)
        assert b"\r\nTrailer: X-Execd-Sha256" in answer.partition(b"\r\n\r\n")[0]
        assert answer.endswith(f"\r\n0\r\nX-Execd-Sha256: {hashlib.sha256(sent).hexdigest()}\r\n\r\n".encode())
    client = execd.client
    assert client.get("/files/download", params={"path": str(large), "sha256": "1"}).content == whole
    assert client.get("/files/download", params={"path": str(large), "sha256": "false"}).headers["content-length"] == str(SIZE)
    assert client.get("/files/download", params={"path": str(large), "sha256": "what"}).status_code == 400
    (tmp_path / "empty").touch()
    assert client.get("/files/download", params={"path": str(tmp_path / "empty"), "sha256": "true"}).content == b""
