"""Raw sockets against proto/http: a client that can say anything, a scripted backend, the test servers.

Two servers run the same rows: `harness` (http_harness.c, built here against the sanitized archive, with short
deadlines) and `execd` (the real binary, where it is built). Tests ask for the fixture `server`.
"""

import contextlib
import hashlib
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from harness.log_reader import LogReader
from harness.patience import PATIENCE_S
from harness.stopped import stopped

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD", ROOT / "build"))
if not BUILD.is_absolute():
    BUILD = ROOT / BUILD
FLAVOUR = "san-address-undefined"
TOKEN = "a-token-of-the-tests"


class Server:
    """A running server: where it listens and which paths play which part."""

    def __init__(self, process, port, paths, auth=b"", head_deadline_s=10.0):
        self.process, self.port, self.auth = process, port, auth
        self.get, self.post = paths
        self.head_deadline_s = head_deadline_s
        self.is_harness = head_deadline_s < 10

    def connect(self, timeout=PATIENCE_S):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)

    def head(self, method, path, *fields, version="HTTP/1.1", host=True):
        """A request head as bytes; fields are whole lines."""
        lines = [f"{method} {path} {version}"] + (["Host: x"] if host else []) + list(fields)
        text = "\r\n".join(lines).encode("latin-1") + b"\r\n"
        return text + self.auth + b"\r\n"

    def talk(self, data, timeout=PATIENCE_S, half_close=False):
        """Sends bytes, returns everything until the server closes (b"..." of a reset included)."""
        with self.connect(timeout) as s:
            # A FIN long behind the data would be a goodbye: a stopped server sees both at once.
            with stopped(self.process.pid, 0) if half_close else contextlib.nullcontext():
                send(s, data)
                if half_close:
                    s.shutdown(socket.SHUT_WR)
            return drain(s)

    def ask(self, data, timeout=PATIENCE_S):
        """Sends one request, returns its one response, connection closed by us."""
        with self.connect(timeout) as s:
            send(s, data)
            return read_response(s.makefile("rb"))

    def fds(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def rss_kib(self):
        text = Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", text).group(1))

    def stats(self):
        """Of the harness."""
        return self.ask(self.head("GET", "/stats")).json()

    def answers(self):
        return self.ask(self.head("GET", self.get)).status == 200


class Response:
    def __init__(self, status, fields, body):
        self.status, self.fields, self.body = status, fields, body

    def json(self):
        import json

        return json.loads(self.body)

    def get(self, name, default=None):
        return self.fields.get(name.lower(), [default])[0]


def send(s, data):
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        s.sendall(data)


def drain(s):
    data = b""
    with contextlib.suppress(ConnectionResetError):
        while chunk := s.recv(65536):
            data += chunk
    return data


def read_response(f, head_request=False):
    """One response from a binary file; None at its end."""
    line = f.readline()
    if not line:
        return None
    match = re.fullmatch(rb"HTTP/1\.1 (\d{3}) [^\r\n]*\r\n", line)
    assert match, line
    status, fields = int(match.group(1)), {}
    while (line := f.readline()) != b"\r\n":
        assert line.endswith(b"\r\n"), line
        name, value = line[:-2].decode("latin-1").split(": ", 1)
        fields.setdefault(name.lower(), []).append(value)
    if status < 200:
        return Response(status, fields, b"")
    if head_request or status in (204, 304):
        body = b""
    elif "transfer-encoding" in fields:
        body = read_chunks(f)
    elif "content-length" in fields:
        body = f.read(int(fields["content-length"][0]))
        assert len(body) == int(fields["content-length"][0]), "the body is cut"
    else:
        body = f.read()
    return Response(status, fields, body)


def read_chunks(f):
    body = b""
    while True:
        size = int(f.readline().strip(), 16)
        data = f.read(size)
        assert len(data) == size and f.readline() == b"\r\n", "the chunk is cut"
        if size == 0:
            return body
        body += data


def split_responses(data):
    """All responses in a byte string; fails on anything between or after them."""
    import io

    f, found = io.BytesIO(data), []
    while (response := read_response(f)) is not None:
        found.append(response)
    return found


def stop(process):
    process.send_signal(signal.SIGTERM)
    try:
        return process.wait(timeout=10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        raise


@pytest.fixture(scope="session")
def harness_binary(tmp_path_factory):
    archive = BUILD / "obj" / FLAVOUR / "libproto.a"
    assert archive.exists(), f"{archive} is missing: run make check first"
    out = tmp_path_factory.mktemp("http") / "http_harness"
    subprocess.run(
        ["gcc", "-std=gnu17", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-g", "-O1",
         "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", f"-I{ROOT}",
         "-isystem", f"{BUILD}/deps/include", f"{ROOT}/tests/integration/http_harness.c", str(archive),
         "-levent_core", "-levent_extra", "-ljansson", "-lnettle", "-lpthread", "-o", str(out)],
        check=True,
    )
    return out


@contextlib.contextmanager
def run_harness(binary, backend_port=0, listen="127.0.0.1:0", **more_env):
    # Without the sanitizer's quarantine of freed memory, so that resident sizes mean something.
    env = {**os.environ, "ASAN_OPTIONS": "quarantine_size_mb=0:detect_leaks=1", **more_env}
    process = subprocess.Popen(
        [str(binary), listen, str(backend_port)], stdout=subprocess.PIPE, text=True, env=env
    )
    try:
        port = int(process.stdout.readline().split()[1])
        yield Server(process, port, ("/ping", "/echo"), head_deadline_s=2.0)
        status = stop(process)
        assert status == 0, f"the harness ended with {status}: a leak, or a request without an end"
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        process.stdout.close()


@contextlib.contextmanager
def run_execd():
    digest = hashlib.sha256(TOKEN.encode()).hexdigest()
    process = subprocess.Popen(
        [str(BUILD / "execd"), "--listen", "127.0.0.1:0", "--access-token-sha256", digest],
        stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
    )
    try:
        log = LogReader(process.stderr)
        port = int(log.wait(lambda e: e["msg"] == "listening", "execd does not listen", PATIENCE_S)["port"])
        auth = f"X-EXECD-ACCESS-TOKEN: {TOKEN}\r\n".encode()
        yield Server(process, port, ("/ping", "/command"), auth)
    finally:
        process.kill()
        process.wait()
        log.join(PATIENCE_S)
        process.stderr.close()


@pytest.fixture
def harness(harness_binary):
    with run_harness(harness_binary) as server:
        yield server


@pytest.fixture(params=["harness", "execd"])
def server(request):
    if request.param == "harness":
        yield request.getfixturevalue("harness")
    elif not (BUILD / "execd").exists():
        pytest.skip("build/execd is not built")
    else:
        with run_execd() as running:
            yield running


class Backend:
    """Answers each connection by a script: script(connection, request) with the request's bytes and body."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0), backlog=64)
        self.port = self.socket.getsockname()[1]
        self.script = lambda connection, request: None
        self.requests = []
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.socket.accept()
                threading.Thread(target=self.serve, args=(connection,), daemon=True).start()

    def serve(self, connection):
        with connection, connection.makefile("rb") as f, contextlib.suppress(OSError, ValueError):
            line, fields = f.readline().decode("latin-1").rstrip("\r\n"), []
            while (field := f.readline()) not in (b"\r\n", b""):
                fields.append(field.decode("latin-1").rstrip("\r\n"))
            request = {"line": line, "fields": fields, "file": f, "body": None}
            self.requests.append(request)
            self.script(connection, request)

    @staticmethod
    def read_body(request):
        names = {x.split(":", 1)[0].lower(): x.split(":", 1)[1].strip() for x in request["fields"]}
        if "transfer-encoding" in names:
            request["body"] = read_chunks(request["file"])
        else:
            request["body"] = request["file"].read(int(names.get("content-length", 0)))
        return request["body"]

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)  # close alone does not end a blocked accept
        self.socket.close()


@pytest.fixture
def backend():
    b = Backend()
    yield b
    b.close()


@pytest.fixture
def relay(harness_binary, backend):
    with run_harness(harness_binary, backend.port) as server:
        yield server
