"""N01, N02: one call fails at a time, at every place where an endpoint makes it.

No crash, no hang, an answer that is either whole and typed or cut off; the next request works. `make test` takes a
sample of the places, the same each time unless FAULT_SEED is given (0: drawn anew); `make soak` (SOAK=1) takes all.
"""

import errno
import json
import os
import random
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from control import Faults
from harness.execd import BUILD, Execd
from harness.kernels import FAKE, write_spec

EXECD = BUILD / "fault" / "execd"
SOAK = bool(os.environ.get("SOAK"))
SEED = int(os.environ.get("FAULT_SEED", "1")) or random.randrange(1 << 32)
LIMIT_S = 5
PLACES_MAX = 20000  # more calls than any endpoint makes
SAMPLE = 6

ERRORS = {
    "alloc": (errno.ENOMEM,),
    "open": (errno.EMFILE, errno.ENOENT),
    "read": (errno.EINTR, errno.EIO, 0),
    "write": (errno.EINTR, errno.ENOSPC, 0),
    "descriptor": (errno.EMFILE,),
    "stat": (errno.EIO,),
    "epoll": (errno.ENOMEM,),
    "map": (errno.ENOMEM,),
    "clone": (errno.EAGAIN,),
}


def upload(client, folder):
    metadata = json.dumps({"path": str(folder / "uploaded")})
    return client.post("/files/upload", files={"metadata": ("m", metadata, "application/json"),
                                               "file": ("f", b"x" * 50000)})


def first_piece(client, path):
    """Of a stream without an end."""
    with client.stream("GET", path) as response:
        if response.status_code >= 400:
            response.read()
        else:
            next(response.iter_bytes(), None)
    return response


class Backend(BaseHTTPRequestHandler):
    """A program on a port of its own, whose connections are kept."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def log_message(self, *_):
        pass


def proxied(client, folder):
    if not hasattr(proxied, "server"):
        proxied.server = ThreadingHTTPServer(("127.0.0.1", 0), Backend)
        threading.Thread(target=proxied.server.serve_forever, daemon=True).start()
    return client.get(f"/proxy/{proxied.server.server_port}/x")


def open_stream(client, path):
    with client.stream("GET", path) as response:
        if response.status_code >= 400:
            response.read()
    return response


def remove_context(client, made):
    if made.status_code == 200:
        removed = client.delete(f"/code/contexts/{made.json()['id']}")
        return removed if removed.status_code >= 400 else made
    return made


def remove(client, made, path, key):
    """Undoes what was made; the refusal, where there is one."""
    if made.status_code < 300:
        removed = client.delete(f"{DELETED_AT.get(path, path)}/{made.json()[key]}")
        return removed if removed.status_code >= 400 else made
    return made


def shell_code(client, folder):
    """With a limit, which is only for a shell whose reports cannot be read."""
    return client.post("/code", json={"code": "echo hello", "timeout": 2000, "context": {"id": (folder / "context").read_text()}})


DELETED_AT = {"/v1/isolated/sessions": "/v1/isolated/session"}  # the others: where they are listed

# What makes something that stays: how, where it is listed and deleted, and what names it.
MAKERS = {
    "shell context": ("/code/context", {"language": "bash", "cwd": "/"}, "/code/contexts", "id"),
    "kernel context": ("/code/context", {"language": "fake"}, "/code/contexts", "id"),
    "kernel": ("/api/kernels", {"name": "fake"}, "/api/kernels", "id"),
    "document session": ("/api/sessions", {"path": "x.ipynb", "type": "notebook", "kernel": {"name": "fake"}}, "/api/sessions", "id"),
    "session": ("/session", {}, "/session", "session_id"),
    "pty": ("/pty", {}, "/pty", "session_id"),
    "terminal": ("/api/terminals", {}, "/api/terminals", "name"),
    "isolated session": ("/v1/isolated/session", {"workspace": {"path": "/srv"}}, "/v1/isolated/sessions", "session_id"),
}


def make_and_remove(maker):
    path, body, listing, key = MAKERS[maker]
    return lambda client, folder: remove(client, client.post(path, json=body), listing, key)


def listed(client, maker):
    _, _, listing, key = MAKERS[maker]
    answer = client.get(listing).json()
    return {item[key] for item in (answer["sessions"] if isinstance(answer, dict) else answer)}


def shape(value):
    """What keys there are, and how many items: values change by themselves."""
    if isinstance(value, list):
        return [shape(item) for item in value]
    return {key: shape(item) for key, item in value.items()} if isinstance(value, dict) else None


def shape_of(answer):
    return shape(answer.json())


def shape_of_contexts(answer):
    """Those of kernels come and go with what other endpoints leave."""
    return [shape(context) for context in answer.json() if context["language"] == "bash"]


ENDPOINTS = {
    "ping": lambda c, f: c.get("/ping"),
    "command": lambda c, f: c.post("/command", json={"command": "echo hello", "stdin": "text"}),
    "background": lambda c, f: c.post("/command", json={"argv": ["true"], "background": True}),
    "not found": lambda c, f: c.get("/command/status/nothing"),
    "bad body": lambda c, f: c.post("/command", content=b"{"),
    "info": lambda c, f: c.get("/files/info", params={"path": str(f / "file")}),
    "upload": upload,
    "download": lambda c, f: c.get("/files/download", params={"path": str(f / "file")}),
    "search": lambda c, f: c.get("/files/search", params={"path": str(f), "pattern": "*"}),
    "metrics": lambda c, f: c.get("/metrics"),
    "capabilities": lambda c, f: c.get("/capabilities"),
    "ports": lambda c, f: c.get("/ports"),
    "all metrics": lambda c, f: c.get("/metrics", headers={"Accept": "text/plain"}),
    "watch": lambda c, f: first_piece(c, "/metrics/watch"),
    "events": lambda c, f: open_stream(c, "/events"),
    "contexts": lambda c, f: c.get("/code/contexts"),
    "no such language": lambda c, f: c.post("/code", json={"code": "1", "context": {"language": "cobol"}}),
    "no such kernel": lambda c, f: c.post("/code/context", json={"language": "missing"}),
    # Kernels: what libzmq does inside is spared (wrap.c), all that is ours is not.
    "code": lambda c, f: c.post("/code", json={"code": "ok", "context": {"language": "fake"}}),
    "shell code": shell_code,
    "context": lambda c, f: remove_context(c, c.post("/code/context", json={"language": "fake"})),
    "kernelspecs": lambda c, f: c.get("/api/kernelspecs"),
    "logo": lambda c, f: c.get("/kernelspecs/missing/logo-64x64.png"),
    "document": lambda c, f: c.get("/api/contents/documents/note.ipynb"),
    "save": lambda c, f: c.put("/api/contents/documents/saved", json={"type": "file", "format": "base64", "content": "eHh4"}),
    "new": lambda c, f: remove(c, c.post("/api/contents/documents/new", json={"type": "notebook"}), "/api/contents", "path"),
    "proxy to nobody": lambda c, f: c.get("/proxy/1/x"),
    "proxy": proxied,
    "one context": lambda c, f: c.get(f"/code/contexts/{(f / 'context').read_text()}"),
    "sessions": lambda c, f: c.get("/session"),
    "ptys": lambda c, f: c.get("/pty"),
    "list": lambda c, f: c.get("/directories/list", params={"path": str(f / "kernels"), "depth": 3}),
    "isolated sessions": lambda c, f: c.get("/v1/isolated/sessions"),
    "isolated capabilities": lambda c, f: c.get("/v1/isolated/capabilities"),
    "replace": lambda c, f: c.post("/files/replace", json={str(f / "file"): {"old": "z", "new": "z"}}),
    **{"make " + maker: make_and_remove(maker) for maker in MAKERS},
}

# Without memory these say so: half an answer would pass for a whole one, and 4xx would blame the client.
WHOLE = {
    "document": lambda answer: answer.json()["content"],
    "save": lambda answer: answer.status_code,
    "new": lambda answer: answer.json()["size"],
    "info": shape_of,
    "contexts": shape_of_contexts,
    "one context": shape_of,
    "shell code": lambda answer: '"reason":"timeout"' in answer.text,
    "sessions": shape_of,
    "ptys": shape_of,
    "list": shape_of,
    "search": shape_of,
    "isolated sessions": shape_of,
    "isolated capabilities": shape_of,
    "replace": shape_of,
    **{"make " + maker: shape_of for maker in MAKERS},
}


class Subject:
    """An execd under faults, and the endpoint's folder."""

    def __init__(self, folder):
        self.folder = folder
        (folder / "file").write_bytes(b"y" * 50000)
        self.faults = Faults(folder)
        write_spec(folder, "missing", ["/no/such/kernel", "{connection_file}"])
        write_spec(folder, "fake", [sys.executable, str(FAKE), "{connection_file}"])
        (folder / "kernels/missing/logo-64x64.png").write_bytes(b"logo" * 1000)
        (folder / "documents/new").mkdir(parents=True)
        (folder / "documents/note.ipynb").write_text('{"cells": []}')
        env = {"FAULT_CONTROL": str(self.faults.path), "JUPYTER_PATH": str(folder),
               "ASAN_OPTIONS": "abort_on_error=1:detect_leaks=0:allocator_may_return_null=1",
               "UBSAN_OPTIONS": "print_stacktrace=1:halt_on_error=1"}
        self.agent = Execd(folder, binary=EXECD, env=env)
        context = self.agent.client.post("/code/context", json={"language": "bash", "cwd": "/"}).json()
        (folder / "context").write_text(context["id"])
        self.agent.client.post("/session").raise_for_status()
        self.agent.client.post("/pty").raise_for_status()
        self.agent.client.post("/v1/isolated/session", json={"workspace": {"path": "/srv"}}).raise_for_status()

    def died(self):
        """How it ended, or None."""
        if self.agent.process.poll() is None:
            return None
        self.agent.wait()
        return f"execd ended with {self.agent.process.returncode}:\n" + "\n".join(self.agent.lines[-60:])

    def check(self, answer, seen=None, whole=None):
        """Whole and typed, where it is an error; what seen() sees in it is `whole`, unless it is one of ours."""
        if answer.status_code >= 400:
            body = answer.json()
            assert body["code"] and body["message"], answer.text
        if seen and answer.status_code < 500:
            assert answer.status_code < 400 and seen(answer) == whole, answer.text

    def once(self, call, kind, errnum, n, *seen):
        """Asks with the n-th call failing; whether that call came."""
        with self.agent.new_client(timeout=LIMIT_S) as client:
            self.faults.arm(kind, errnum, n)
            try:
                self.check(call(client, self.folder), *seen)
            except (httpx.RemoteProtocolError, httpx.ReadError, httpx.WriteError, httpx.ConnectError):
                pass  # cut off: the client knows
            except httpx.TimeoutException:
                self.faults.disarm()
                pytest.fail(f"no answer within {LIMIT_S} s; log:\n" + "\n".join(self.agent.lines[-30:]))
            struck = self.faults.disarm()
        assert not self.died(), self.died()
        self.works()
        return struck

    def works(self):
        with self.agent.new_client(timeout=LIMIT_S) as client:
            try:
                assert client.get("/ping").status_code == 200
            except httpx.TransportError as error:
                time.sleep(0.2)  # it may be dying
                pytest.fail(self.died() or f"the next request fails: {error!r}")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    made = []

    def get():
        """The running one; a new one after a death."""
        if not made or made[-1].agent.process.poll() is not None:
            made.append(Subject(tmp_path_factory.mktemp("fault")))
            made[-1].agent.client.get("/capabilities")
        return made[-1]

    yield get
    for one in made:
        one.agent.close_clients()
        if one.agent.process.poll() is None:
            one.agent.send_signal(signal.SIGTERM)
            assert one.agent.wait() == 0, "\n".join(one.agent.lines[-60:])


def count_places(one, call, kind):
    """How often the endpoint makes such calls when none fails."""
    with one.agent.new_client(timeout=LIMIT_S) as client:
        one.faults.arm(kind, 0, PLACES_MAX)
        call(client, one.folder)
        time.sleep(0.02)  # what is done behind the answer
        one.faults.disarm()
        return PLACES_MAX - one.faults.left()


def test_N02_no_descriptors_for_a_kernel(subject):
    """libzmq too says that it can make no socket; what was made before it goes again."""
    one = subject()
    create = {"language": "fake"}
    refused = []
    for n in range(1, 30):
        with one.agent.new_client(timeout=LIMIT_S) as client:
            client.get("/ping")  # the connection is there: it needs a descriptor, too
            one.faults.arm("descriptor", errno.EMFILE, n)
            answer = client.post("/code/context", json=create)
            struck = one.faults.disarm()
            if answer.status_code == 200:
                client.delete(f"/code/contexts/{answer.json()['id']}")
            else:
                refused.append(answer.json())
        if not struck:
            break
    assert not struck, "every attempt failed"
    assert all("[EXECD_001]" in body["message"] and "Too many open files" in body["message"] for body in refused), refused
    assert any("message socket" in body["message"] for body in refused), refused
    assert not one.died()
    one.works()


@pytest.mark.parametrize("kind", ERRORS)
@pytest.mark.parametrize("endpoint", ENDPOINTS)
@pytest.mark.timeout(3600 if SOAK else 60)
def test_N01_N02_every_call_may_fail(subject, endpoint, kind):
    call = ENDPOINTS[endpoint]
    one = subject()
    places = list(range(1, count_places(one, call, kind) + 1))
    cases = [(n, errnum) for n in places for errnum in ERRORS[kind]]
    if not SOAK:
        cases = random.Random(f"{SEED} {endpoint} {kind}").sample(cases, min(SAMPLE, len(cases)))
    seen = ()
    if kind == "alloc" and endpoint in WHOLE:
        with one.agent.new_client(timeout=LIMIT_S) as client:
            seen = (WHOLE[endpoint], WHOLE[endpoint](call(client, one.folder)))
    failed = []
    for n, errnum in cases:
        try:
            subject().once(call, kind, errnum, n, *seen)
        except (AssertionError, pytest.fail.Exception) as error:
            failed.append(f"{kind} {errno.errorcode.get(errnum, 'short')} at {n}: {error}")
            if len(failed) == 3:
                break
    assert not failed, f"FAULT_SEED={SEED}\n" + "\n\n".join(failed)


@pytest.mark.parametrize("maker", MAKERS)
@pytest.mark.timeout(3600 if SOAK else 60)
def test_N01_a_refusal_leaves_nothing_behind(subject, maker):
    """Nobody knows the id of what was made and not told: it could not be deleted."""
    one = subject()
    path, body, listing, key = MAKERS[maker]
    places = list(range(1, count_places(one, make_and_remove(maker), "alloc") + 1))
    if not SOAK:
        places = random.Random(f"{SEED} {maker}").sample(places, min(3 * SAMPLE, len(places)))
    for n in places:
        with one.agent.new_client(timeout=LIMIT_S) as client:
            before = listed(client, maker)
            one.faults.arm("alloc", errno.ENOMEM, n)
            try:
                answer = client.post(path, json=body)
            except httpx.TransportError:
                continue  # cut off: the client knows nothing, either way
            finally:
                one.faults.disarm()
            new = listed(client, maker) - before
            assert answer.status_code < 300 or not new, f"FAULT_SEED={SEED} alloc at {n}: {answer.text}"
            for name in new:
                client.delete(f"{listing}/{name}")
