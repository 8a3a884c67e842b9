"""Files in and out: exact bytes, safe opens, nothing half written (hardening F)."""

import hashlib
import json
import os
import socket
import stat
import threading

import pytest

from harness.execd import TOKEN, eventually, rss_kib


def upload(agent, *pairs, client=None):
    """pairs: (metadata dictionary, content)."""
    parts = []
    for metadata, content in pairs:
        parts.append(("metadata", ("metadata", json.dumps(metadata), "application/json")))
        parts.append(("file", ("file", content, "application/octet-stream")))
    return (client or agent.client).post("/files/upload", files=parts)


def litter(folder):
    return [name for name in os.listdir(folder) if name.startswith(".execd-")]


def test_round_trip_and_info(execd, tmp_path):
    path, data = tmp_path / "new/deep/é.bin", os.urandom(300_000) + b"\r\n--x\r\n" * 1000
    response = upload(execd, ({"path": str(path), "mode": 640}, data))
    assert response.status_code == 200 and response.headers["content-length"] == "0" and not response.content
    assert path.read_bytes() == data and stat.S_IMODE(path.stat().st_mode) == 0o640
    info = execd.client.get("/files/info", params={"path": str(path)}).json()[str(path)]
    assert list(info) == ["path", "type", "size", "modified_at", "created_at", "owner", "group", "mode"]
    assert info["type"] == "file" and info["size"] == len(data) and info["mode"] == 640
    response = execd.client.get("/files/download", params={"path": str(path)})
    assert response.content == data and response.headers["content-length"] == str(len(data))
    assert response.headers["content-disposition"] == "attachment; filename=\"%C3%A9.bin\"; filename*=UTF-8''%C3%A9.bin"
    assert litter(path.parent) == []


def test_many_pairs_and_defaults(execd, tmp_path):
    old = tmp_path / "old"
    old.write_text("old content")
    old.chmod(0o751)
    pairs = [({"path": str(tmp_path / f"n{i}"), "owner": None, "group": None}, b"%d" % i) for i in range(200)]
    assert upload(execd, *pairs, ({"path": str(old)}, b"new")).status_code == 200
    assert all((tmp_path / f"n{i}").read_bytes() == b"%d" % i for i in range(200))
    assert stat.S_IMODE((tmp_path / "n0").stat().st_mode) == 0o644
    assert old.read_text() == "new" and stat.S_IMODE(old.stat().st_mode) == 0o751
    assert litter(tmp_path) == []


@pytest.mark.parametrize("metadata, code", [
    ("", "INVALID_FILE_METADATA"), ("{", "INVALID_FILE_METADATA"), ('{"path":""}', "INVALID_FILE_METADATA"),
    ('{"path":"/tmp/execd-refused","mode":888}', "INVALID_FILE_METADATA"), ('{"path":"/tmp/execd-refused","mode":-1}', "INVALID_FILE_METADATA"),
    ('{"path":"/tmp/execd-refused","mode":"0x1ff"}', "INVALID_FILE_METADATA"), ('{"path":5}', "INVALID_FILE_METADATA"),
    ('{"path":"/tmp/execd-refused","owner":"no-such-user"}', "INVALID_FILE_METADATA"), ("x" * 100_000, "INVALID_FILE_METADATA"),
    ('{"path":"/tmp/execd-refused"} trailing', "INVALID_FILE_METADATA"),
])
def test_F13_metadata(execd, metadata, code):
    response = execd.client.post("/files/upload", files=[("metadata", ("metadata", metadata, "application/json")),
                                                         ("file", ("f", b"x"))])
    assert response.status_code == 400 and response.json()["code"] == code, response.text
    assert not os.path.exists("/tmp/execd-refused")


def test_D64_forms_that_are_not_whole(execd):
    client = execd.client
    meta = ("metadata", ("metadata", '{"path":"/tmp/none-of-it"}', "application/json"))
    assert client.post("/files/upload", files=[meta]).json()["code"] == "INVALID_FILE_CONTENT"
    assert client.post("/files/upload", files=[("file", ("f", b"x"))]).json()["code"] == "INVALID_FILE_METADATA"
    assert client.post("/files/upload", content=b"x", headers={"Content-Type": "text/plain"}).status_code == 400
    assert client.post("/files/upload", content=b"").status_code == 400
    cut = b'--b\r\nContent-Disposition: form-data; name="metadata"; filename="m"\r\n\r\n{"path":"/tmp/none-of-it"}\r\n'
    response = client.post("/files/upload", content=cut, headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.status_code == 400 and response.json()["code"] == "INVALID_FILE"
    assert not os.path.exists("/tmp/none-of-it")


def test_F10_upload_cut_in_the_middle(execd, tmp_path):
    target = tmp_path / "precious"
    target.write_text("old")
    head = (f"--b\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"m\"\r\n\r\n"
            f"{json.dumps({'path': str(target)})}\r\n--b\r\n"
            f"Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n").encode()
    for size in (0, 1, 65_536, 500_000):
        connection = execd.connect()
        connection.sendall((f"POST /files/upload HTTP/1.1\r\nHost: x\r\nX-EXECD-ACCESS-TOKEN: {TOKEN}\r\n"
                            f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 900000\r\n\r\n").encode()
                           + head + b"n" * size)
        eventually(lambda: litter(tmp_path), message="the upload does not begin")
        connection.close()
        eventually(lambda: not litter(tmp_path), message="a temporary file is left")
        assert target.read_text() == "old"


def test_F11_readers_see_old_or_new(execd, tmp_path):
    target = tmp_path / "shared"
    versions = [bytes([65 + i]) * 200_000 for i in range(8)]
    target.write_bytes(versions[0])
    seen, stop = set(), threading.Event()

    def read():
        with execd.new_client() as client:
            while not stop.is_set():
                data = client.get("/files/download", params={"path": str(target)}).content
                seen.add((len(data), hashlib.sha256(data).digest()))

    reader = threading.Thread(target=read)
    reader.start()
    for version in versions:
        assert upload(execd, ({"path": str(target)}, version)).status_code == 200
    stop.set()
    reader.join()
    assert seen <= {(len(v), hashlib.sha256(v).digest()) for v in versions}


def test_F01_things_that_are_no_files(execd, tmp_path):
    fifo, sock = tmp_path / "fifo", tmp_path / "sock"
    os.mkfifo(fifo)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(sock))
    for path in (fifo, sock, tmp_path, "/dev/zero", "/dev/tty", "/dev/null"):
        response = execd.client.get("/files/download", params={"path": str(path)}, timeout=5)
        assert response.status_code == 400 and response.json()["code"] == "INVALID_FILE", path
    for path in (fifo, sock, tmp_path, "/dev/null"):
        assert upload(execd, ({"path": str(path)}, b"x")).status_code == 400
    listener.close()


def test_F02_pseudo_files_are_read_to_their_end(execd):
    text = execd.client.get("/files/download", params={"path": "/proc/self/status"}).text
    assert "Name:\texecd" in text and text.endswith("\n")


def test_F05_ranges(execd, tmp_path):
    path = tmp_path / "r"
    path.write_bytes(bytes(range(256)) * 4)

    def get(value):
        return execd.client.get("/files/download", params={"path": str(path)}, headers={"Range": value})

    for value, first, last in (("bytes=0-0", 0, 0), ("bytes=10-19", 10, 19), ("bytes=1000-", 1000, 1023),
                               ("bytes=-4", 1020, 1023), ("bytes=5-99999", 5, 1023)):
        response = get(value)
        assert response.status_code == 206 and response.content == path.read_bytes()[first:last + 1], value
        assert response.headers["content-range"] == f"bytes {first}-{last}/1024"
    for value in ("bytes=1024-", "bytes=9-3", "lines=0-1", "bytes=x"):
        response = get(value)
        assert response.status_code == 416 and response.headers["content-range"] == "bytes */1024", value
        assert response.json()["message"]


def test_empty_missing_and_unnamed(execd, tmp_path):
    (tmp_path / "empty").touch()
    response = execd.client.get("/files/download", params={"path": str(tmp_path / "empty")})
    assert response.status_code == 200 and response.content == b"" and response.headers["content-length"] == "0"
    response = execd.client.get("/files/download", params={"path": str(tmp_path / "none")})
    assert response.status_code == 404 and response.json()["code"] == "FILE_NOT_FOUND"
    response = execd.client.get("/files/download")
    assert response.status_code == 400 and response.json()["code"] == "MISSING_QUERY"
    assert execd.client.get("/files/info").json() == {}
    assert execd.client.get("/files/info", params={"path": str(tmp_path / "none")}).status_code == 404


def test_D65_names_cannot_split_headers(execd, tmp_path):
    path = tmp_path / 'a"b\r\nX-Evil: y'
    path.write_text("z")
    response = execd.client.get("/files/download", params={"path": str(path)})
    assert response.status_code == 200 and "x-evil" not in response.headers and response.text == "z"


def test_links(execd, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("old")
    link.symlink_to(target)
    assert execd.client.get("/files/info", params={"path": str(link)}).json()[str(link)]["type"] == "symlink"
    assert upload(execd, ({"path": str(link)}, b"new")).status_code == 200
    assert link.is_symlink() and target.read_text() == "new"


def test_home_and_variables_in_paths(execd, tmp_path):
    assert upload(execd, ({"path": "~/from-home"}, b"h")).status_code == 200
    assert (execd.folder / "from-home").read_bytes() == b"h"
    (tmp_path / "odd$name").write_text("dollar")
    assert execd.client.get("/files/download", params={"path": str(tmp_path / "odd$name")}).text == "dollar"
    assert execd.client.get("/files/download", params={"path": "$NO_SUCH_VAR/x"}).status_code == 400


def test_F14_large_upload_in_constant_memory(execd, tmp_path):
    size = 200 << 20
    before = rss_kib(execd.pid)

    def body():
        yield (f"--b\r\nContent-Disposition: form-data; name=\"metadata\"; filename=\"m\"\r\n\r\n"
               f"{json.dumps({'path': str(tmp_path / 'large')})}\r\n--b\r\n"
               f"Content-Disposition: form-data; name=\"file\"; filename=\"f\"\r\n\r\n").encode()
        block = b"\r\nab" * (1 << 18)
        for _ in range(size // len(block)):
            yield block
        yield b"\r\n--b--\r\n"

    response = execd.client.post("/files/upload", content=body(), timeout=60,
                                 headers={"Content-Type": "multipart/form-data; boundary=b"})
    assert response.status_code == 200, response.text
    assert (tmp_path / "large").stat().st_size == size
    assert rss_kib(execd.pid) - before < 4 * 1024


@pytest.mark.skipif(os.getuid() != 0, reason="a small file system needs root")
def test_A16_full_disk(execd, tmp_path):
    import subprocess
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "none", disk], check=True)
    try:
        assert upload(execd, ({"path": str(disk / "keep")}, b"old")).status_code == 200
        response = upload(execd, ({"path": str(disk / "keep")}, b"x" * (3 << 20)))
        assert response.status_code == 507 and response.json()["code"] == "NO_SPACE"
        assert (disk / "keep").read_bytes() == b"old" and litter(disk) == []
    finally:
        subprocess.run(["umount", disk], check=True)
