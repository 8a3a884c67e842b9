"""The file server of the mini sandbox: five routes over one folder, with its client's manners (contracts/jupyter.md 4.5)."""

import os
import signal
import socket
import subprocess

import httpx
import pytest

from harness import web
from harness.execd import EXECD, Execd, eventually

TOKEN = "write-token-7c1d"


class Files:
    def __init__(self, agent, root):
        self.agent, self.root = agent, root
        port = agent.wait_log(msg="listening", where="127.0.0.1:0 (files)")["port"]
        self.url = f"http://127.0.0.1:{port}"
        self.client = httpx.Client(base_url=self.url, timeout=20)

    def upload(self, name, content, token=TOKEN):
        headers = {"token": token} if token else {}
        return self.client.post("/upload", files={"file": (name, content)}, headers=headers)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("files")
    root = folder / "shared"
    root.mkdir()
    with Execd(folder, "--file-server", "127.0.0.1:0", "--file-server-root", str(root),
               env={"WRITE_TOKEN": TOKEN}) as agent:
        found = Files(agent, root)
        yield found
        found.client.close()


@pytest.fixture(autouse=True)
def empty(files):
    yield
    for entry in files.root.iterdir():
        entry.rmdir() if entry.is_dir() and not entry.is_symlink() else entry.unlink()


def test_write_list_read_overwrite_delete(files):
    data = bytes(range(256)) * 1000
    assert files.client.get("/list").json() == []
    answer = files.upload("a b.bin", data)
    assert (answer.status_code, answer.json()) == (200, {"status": "uploaded", "filename": "a b.bin"})
    assert files.client.get("/list").json() == ["a b.bin"]
    assert files.client.get("/read/a b.bin").content == data
    answer = files.client.put("/overwrite/a b.bin", files={"file": ("other", b"new")}, headers={"token": TOKEN})
    assert answer.json() == {"status": "overwritten", "filename": "a b.bin"}
    assert (files.root / "a b.bin").read_bytes() == b"new" and os.listdir(files.root) == ["a b.bin"]
    answer = files.client.delete("/delete/a b.bin", headers={"token": TOKEN})
    assert answer.json() == {"status": "deleted", "filename": "a b.bin"}
    assert files.client.get("/list").json() == []


@pytest.mark.parametrize("token", [None, "", "wrong", TOKEN + "x"])
def test_writing_needs_the_token(files, token):
    headers = {"token": token} if token is not None else {}
    (files.root / "x").write_text("kept")
    for answer in (files.client.post("/upload", files={"file": ("x", b"1")}, headers=headers),
                   files.client.put("/overwrite/x", files={"file": ("x", b"1")}, headers=headers),
                   files.client.delete("/delete/x", headers=headers)):
        assert answer.status_code == 403 and answer.json()["code"] == "FORBIDDEN"
        assert "Not authorized" in answer.json()["detail"]
    assert (files.root / "x").read_text() == "kept"
    assert files.client.get("/list", headers=headers).status_code == 200


def test_nothing_is_written_without_a_configured_token(tmp_path):
    (tmp_path / "shared").mkdir()
    with Execd(tmp_path, "--file-server", "127.0.0.1:0", "--file-server-root", str(tmp_path / "shared")) as agent:
        open_to_all = Files(agent, tmp_path / "shared")
        for token in (None, "", "None"):
            assert open_to_all.upload("x", b"1", token=token).status_code == 403
        open_to_all.client.close()


@pytest.mark.parametrize("options, env, refused", [
    ((), {}, True),
    ((), {"WRITE_TOKEN": TOKEN}, False),
    (("--file-server-open",), {}, False),
    (("--insecure",), {}, False),
])
def test_no_token_outside_needs_a_word(tmp_path, options, env, refused):
    """Reading asks for nothing: on an address that others reach, without any token, that must be meant."""
    (tmp_path / "shared").mkdir()
    where = ("--file-server", "0.0.0.0:0", "--file-server-root", str(tmp_path / "shared"))
    if refused:
        ended = subprocess.run([EXECD, "--listen", "127.0.0.1:0", *where], capture_output=True, text=True, timeout=10)
        assert ended.returncode == 2 and "--file-server-open" in ended.stderr
        return
    with Execd(tmp_path, *where, *options, env=env) as agent:
        port = agent.wait_log(where="0.0.0.0:0 (files)")["port"]
        assert web.get(f"http://127.0.0.1:{port}/list").json() == []
        warned = any("file server without a token" in entry["msg"] for entry in agent.log)
        assert warned == (not env)


def test_E07_strange_names_are_refused_without_the_token(files):
    for headers, status in (({"Host": "rebound.example"}, 403), ({"Host": "localhost:1"}, 200),
                            ({"Host": "rebound.example", "token": TOKEN}, 200)):
        assert files.client.get("/list", headers=headers).status_code == status
    assert files.client.get("/read/none", headers={"Host": "rebound.example"}).json()["code"] == "FORBIDDEN"


@pytest.mark.parametrize("name", ["../x", "/etc/x", "a/b", "..", "."])
def test_F07_names_stay_in_the_folder(files, name):
    answer = files.upload(name, b"1")
    assert answer.status_code == 400 and answer.json()["code"] == "INVALID_REQUEST_BODY", answer.text
    assert os.listdir(files.root) == [] and not (files.root.parent / "x").exists()


@pytest.mark.parametrize("target", ["%2e%2e%2fsecret", "..%2fsecret", "%2e%2e", "a%2fb"])
def test_F07_paths_stay_in_the_folder(files, target):
    (files.root.parent / "secret").write_text("secret")
    for method, route in (("GET", "read"), ("PUT", "overwrite"), ("DELETE", "delete")):
        body = {"files": {"file": ("x", b"1")}} if method == "PUT" else {}
        answer = files.client.request(method, httpx.URL(f"{files.url}/{route}/{target}"), headers={"token": TOKEN}, **body)
        assert answer.status_code in (400, 404), answer.text
    assert (files.root.parent / "secret").read_text() == "secret"


def test_F08_links_are_not_followed(files):
    secret = files.root.parent / "secret"
    secret.write_text("secret")
    (files.root / "link").symlink_to(secret)
    os.mkfifo(files.root / "fifo")
    (files.root / "folder").mkdir()
    for name in ("link", "fifo", "folder"):
        assert files.client.get(f"/read/{name}").status_code == 400
    assert files.client.delete("/delete/link", headers={"token": TOKEN}).status_code == 200
    assert secret.read_text() == "secret" and not (files.root / "link").exists()
    answer = files.client.delete("/delete/folder", headers={"token": TOKEN})
    assert answer.status_code >= 400 and (files.root / "folder").is_dir()


def test_what_is_missing(files):
    for answer in (files.client.get("/read/none"), files.client.delete("/delete/none", headers={"token": TOKEN})):
        assert (answer.status_code, answer.json()["detail"]) == (404, "File not found")


@pytest.mark.parametrize("form", [
    {"data": {"file": "no file"}},
    {"files": {"other": ("x", b"1")}},
    {"files": [("file", ("x", b"1")), ("file", ("y", b"2"))]},
    {"content": b"no form", "headers": {"Content-Type": "text/plain"}},
    {"content": b"--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"cut\"\r\n\r\nhalf",
     "headers": {"Content-Type": "multipart/form-data; boundary=b"}},
])
def test_bad_forms_leave_nothing(files, form):
    headers = {**form.pop("headers", {}), "token": TOKEN}
    answer = files.client.post("/upload", headers=headers, **form)
    assert answer.status_code == 400 and answer.json()["code"].startswith("INVALID_FILE"), answer.text
    assert os.listdir(files.root) == []


def test_nothing_else_is_served_there(files):
    for method, path in (("POST", "/command"), ("GET", "/metrics"), ("GET", "/api"), ("GET", "/files/info?path=/")):
        assert files.client.request(method, path).status_code == 404
    assert files.client.post("/list").status_code == 405


def test_the_token_is_no_secret_of_commands(files):
    """Kernels get it from their client, nobody else from us."""
    assert TOKEN not in str(files.agent.command("env; cat /proc/1/environ 2>/dev/null; true"))




def begin_upload(url, name):
    """A connection with half of a form sent, and the rest of it."""
    form = (f'--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nfirst half, ',
            "second half\r\n--b--\r\n")
    connection = socket.create_connection(("127.0.0.1", httpx.URL(url).port), timeout=20)
    connection.sendall((f"POST /upload HTTP/1.1\r\nHost: x\r\ntoken: {TOKEN}\r\n"
                        "Content-Type: multipart/form-data; boundary=b\r\n"
                        f"Content-Length: {sum(map(len, form))}\r\n\r\n{form[0]}").encode())
    return connection, form[1].encode()


def shutting_down(agent):
    agent.send_signal(signal.SIGTERM)
    agent.wait_log(msg="shutting down")


def is_refused(url):
    try:
        socket.create_connection(("127.0.0.1", httpx.URL(url).port)).close()
    except ConnectionRefusedError:
        return True
    return False


def test_an_upload_under_way_is_finished_at_shutdown(tmp_path):
    """As every other request: it has the grace, nobody new is let in, and execd ends when it is over."""
    root = tmp_path / "shared"
    root.mkdir()
    with Execd(tmp_path, "--file-server", "127.0.0.1:0", "--file-server-root", str(root), "--grace", "15",
               env={"WRITE_TOKEN": TOKEN}) as agent:
        files = Files(agent, root)
        files.client.close()
        connection, rest = begin_upload(files.url, "x")
        eventually(lambda: os.listdir(root), message="the upload has not begun")
        shutting_down(agent)
        eventually(lambda: is_refused(files.url), message="somebody new is let in")
        assert agent.process.poll() is None
        connection.sendall(rest)
        answer = connection.makefile("rb").read()
        assert answer.startswith(b"HTTP/1.1 200 ") and b'"uploaded"' in answer
        assert agent.process.wait(10) == 0
        assert os.listdir(root) == ["x"] and (root / "x").read_text() == "first half, second half"


def test_a_second_signal_waits_for_no_upload(tmp_path):
    root = tmp_path / "shared"
    root.mkdir()
    with Execd(tmp_path, "--file-server", "127.0.0.1:0", "--file-server-root", str(root), "--grace", "600",
               env={"WRITE_TOKEN": TOKEN}) as agent:
        files = Files(agent, root)
        files.client.close()
        connection, _ = begin_upload(files.url, "x")
        eventually(lambda: os.listdir(root), message="the upload has not begun")
        shutting_down(agent)
        agent.send_signal(signal.SIGTERM)
        assert agent.process.wait(10) == 0
        assert connection.makefile("rb").read() == b"" and os.listdir(root) == []
