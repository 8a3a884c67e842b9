"""Clients of Kernel Gateway, re-expressed by what they send and when they stop (contracts/jupyter.md 3.1, 3.9).

Each writes its messages as the real one does: without channel, buffers, date or version where that one leaves them out.
"""

import json
import socket
import sys
import uuid

import httpx
import pytest

from harness import web
from harness.execd import Execd
from harness.ws import PING, PONG, TEXT, Refused, WebSocket

SECRET = "gateway-secret"


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clients")
    spec = folder / "jupyter/kernels/python3"
    spec.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "language": "python", "display_name": "P"}))
    with Execd(folder, "--gateway-listen", "127.0.0.1:0", env={"JUPYTER_PATH": str(folder / "jupyter"),
                                                               "KG_AUTH_TOKEN": SECRET}) as running:
        running.client.get("/ping")
        yield running


@pytest.fixture
def base(agent):
    entry = next(e for e in agent.log if e["msg"] == "listening")
    yield f"http://127.0.0.1:{entry['port']}"
    for kernel in agent.client.get("/api/kernels").json():
        agent.client.delete(f"/api/kernels/{kernel['id']}")


class Socket(WebSocket):
    def __init__(self, base, path, headers=(), limit_s=20):
        host, _, port = base.removeprefix("http://").partition(":")
        super().__init__(socket.create_connection((host, int(port)), limit_s), path, headers, limit_s)

    def send_message(self, message):
        self.send(TEXT, json.dumps(message))

    def messages(self):
        while True:
            frame = self.read()
            assert frame.opcode == TEXT, frame
            yield json.loads(frame.payload)


# ---- smolagents: a new connection for every run ---------------------------------------------------


def smolagents_run(base, kernel, code):
    connection = Socket(base, f"/api/kernels/{kernel}/channels?token={SECRET}")
    msg_id = str(uuid.uuid4())
    connection.send_message({
        "header": {"msg_id": msg_id, "username": "anonymous", "session": str(uuid.uuid4()),
                   "msg_type": "execute_request", "version": "5.0"},
        "parent_header": {}, "metadata": {},
        "content": {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False},
    })
    outputs, result = [], None
    for message in connection.messages():
        if message.get("parent_header", {}).get("msg_id") != msg_id:
            continue
        kind, content = message["msg_type"], message["content"]
        if kind == "stream":
            outputs.append(content["text"])
        elif kind == "execute_result":
            result = content["data"].get("text/plain")
        elif kind == "error":
            raise RuntimeError("\n".join(content["traceback"]))
        elif kind == "status" and content["execution_state"] == "idle":
            break
    connection.socket.close()
    return result, "".join(outputs)


def test_smolagents(base):
    assert web.get(f"{base}/api/kernelspecs", params={"token": SECRET}).status_code == 200
    created = web.post(f"{base}/api/kernels", params={"token": SECRET})
    assert created.status_code == 201
    kernel = created.json()["id"]
    assert smolagents_run(base, kernel, "x = 41\nprint('hello')") == (None, "hello\n")
    assert smolagents_run(base, kernel, "x + 1") == ("42", "")
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        smolagents_run(base, kernel, "1 / 0")
    assert smolagents_run(base, kernel, "x") == ("41", "")


# ---- AutoGen: one connection, the token in a header -----------------------------------------------


def test_autogen(base):
    headers = {"Authorization": f"token {SECRET}"}
    client = httpx.Client(base_url=base, headers=headers, timeout=20)
    assert client.get("/api/kernelspecs").json()["kernelspecs"]["python3"]
    kernel = client.post("/api/kernels", json={"name": "python3"}).json()["id"]
    assert kernel in [k["id"] for k in client.get("/api/kernels").json()]
    connection = Socket(base, f"/api/kernels/{kernel}/channels", [f"Authorization: token {SECRET}"])

    def send(content, kind, channel):
        msg_id = uuid.uuid4().hex
        connection.send_message({
            "header": {"username": "autogen", "version": "5.0", "session": "s", "msg_id": msg_id, "msg_type": kind},
            "parent_header": {}, "channel": channel, "content": content, "metadata": {}, "buffers": {},
        })
        return msg_id

    def ready():
        msg_id = send({}, "kernel_info_request", "shell")
        for message in connection.messages():
            if message["msg_type"] == "kernel_info_reply" and message["parent_header"]["msg_id"] == msg_id:
                return True

    def execute(code):
        msg_id = send({"code": code, "silent": False, "store_history": True, "user_expressions": {},
                       "allow_stdin": False, "stop_on_error": True}, "execute_request", "shell")
        text = []
        for message in connection.messages():
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            kind, content = message["msg_type"], message["content"]
            if kind in ("execute_result", "display_data"):
                text.append(content["data"].get("text/plain", ""))
            elif kind == "stream":
                text.append(content["text"])
            elif kind == "error":
                return False, content["ename"]
            if kind == "status" and content["execution_state"] == "idle":
                return True, "".join(text)

    assert ready()
    assert execute("print('one'); 6 * 7") == (True, "one\n42")
    assert execute("undefined") == (False, "NameError")
    assert execute("2 + 2") == (True, "4"), "what an error left on the way is no answer to the next run"
    assert client.post(f"/api/kernels/{kernel}/restart").status_code == 200
    connection.socket.close()
    assert client.delete(f"/api/kernels/{kernel}").status_code == 204


# ---- OpenHands: stops at the reply, pings on its own ----------------------------------------------


def test_openhands(base):
    headers = {"Authorization": f"Bearer {SECRET}"}
    kernel = web.post(f"{base}/api/kernels", json={"name": "python"}, headers=headers).json()["id"]
    connection = Socket(base, f"/api/kernels/{kernel}/channels?token={SECRET}")

    def execute(code):
        msg_id = uuid.uuid4().hex
        connection.send_message({
            "header": {"username": "", "version": "5.0", "session": "", "msg_id": msg_id, "msg_type": "execute_request"},
            "parent_header": {}, "channel": "shell", "metadata": {}, "buffers": {},
            "content": {"code": code, "silent": False, "store_history": False, "user_expressions": {},
                        "allow_stdin": False},
        })
        text = []
        for message in connection.messages():
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            if message["msg_type"] == "stream":
                text.append(message["content"]["text"])
            elif message["msg_type"] in ("execute_result", "display_data"):
                text.append(message["content"]["data"]["text/plain"])
            elif message["msg_type"] == "error":
                text.append(message["content"]["ename"])
            elif message["msg_type"] == "execute_reply":
                return "".join(text)

    for i in range(20):  # outputs come before the reply, always
        assert execute(f"print({i}); {i} + 1") == f"{i}\n{i + 1}"
    connection.send(PING, b"beat")
    while (frame := connection.read_frame()).opcode != PONG:
        pass
    assert frame.payload == b"beat"
    interrupt = web.post(f"{base}/api/kernels/{kernel}/interrupt", json={"kernel_id": kernel}, headers=headers)
    assert interrupt.status_code == 204
    assert execute("1 / 0") == "ZeroDivisionError"
    connection.socket.close()


# ---- Enterprise Gateway's own client --------------------------------------------------------------


def test_enterprise_gateway_client(base):
    client = httpx.Client(base_url=base, headers={"Authorization": f"token {SECRET}"}, timeout=20)
    created = client.post("/api/kernels", json={"name": "python3", "env": {"KERNEL_USERNAME": "bob",
                                                                             "KERNEL_LAUNCH_TIMEOUT": "40"}})
    assert created.status_code == 201
    address = f"/api/kernels/{created.json()['id']}"
    assert client.get(address).json()["execution_state"] in ("starting", "idle")
    connection = Socket(base, f"{address}/channels?token={SECRET}")

    def execute(code):
        msg_id = uuid.uuid4().hex
        connection.send_message({
            "header": {"msg_id": msg_id, "username": "bob", "date": "2026-11-21T00:00:00.000000Z",
                       "session": uuid.uuid4().hex, "msg_type": "execute_request", "version": "5.0"},
            "parent_header": {}, "metadata": {}, "channel": "shell", "buffers": {},
            "content": {"code": code, "silent": False, "store_history": False, "user_expressions": {},
                        "allow_stdin": False},
        })
        text, replied, idle = "", False, False
        for message in connection.messages():
            if message["parent_header"].get("msg_id") == msg_id:
                content = message["content"]
                text += content.get("text", "") + content.get("data", {}).get("text/plain", "")
                replied |= message["msg_type"] == "execute_reply"
                idle |= content.get("execution_state") == "idle"
            if replied and idle:
                return text

    assert execute("import os; os.environ['KERNEL_USERNAME']") == "'bob'"
    connection.socket.close()
    assert client.post(f"{address}/restart").status_code == 200
    connection = Socket(base, f"{address}/channels?token={SECRET}")
    assert execute("'kept' in dir()") == "False"
    assert client.post(f"{address}/interrupt").status_code == 204
    assert client.get(address).status_code == 200
    connection.socket.close()
    assert client.delete(address).status_code == 204
    assert client.get(address).status_code == 404


# ---- an error, and what was sent before and behind it ---------------------------------------------


def test_what_was_sent_before_an_error_is_dropped_and_what_comes_behind_it_is_run(base, tmp_path):
    """Run All: an error stops the cells behind it. Who has seen it and goes on is heard, on any connection."""
    kernel = web.post(f"{base}/api/kernels", params={"token": SECRET}).json()["id"]
    address = f"/api/kernels/{kernel}/channels?token={SECRET}"
    one, other = Socket(base, address), Socket(base, address)

    def execute(connection, code):
        msg_id = uuid.uuid4().hex
        connection.send_message({
            "header": {"msg_id": msg_id, "username": "", "session": "s", "msg_type": "execute_request", "version": "5.3"},
            "parent_header": {}, "metadata": {}, "channel": "shell",
            "content": {"code": code, "silent": False, "store_history": True, "user_expressions": {},
                        "allow_stdin": False, "stop_on_error": True},
        })
        return msg_id

    def until(connection, kind, msg_id):
        return next(m for m in connection.messages() if m["msg_type"] == kind and m["parent_header"].get("msg_id") == msg_id)

    until(one, "execute_reply", execute(one, "1"))
    for number in range(3):
        gate = tmp_path / f"gate{number}"
        waits = f"import os, time\nwhile not os.path.exists({str(gate)!r}): time.sleep(0.01)\n1 / 0"
        cells = [execute(one, waits), execute(one, "ran = 1"), execute(one, "ran = 2")]
        one.send(PING, b"all taken?")
        while one.read_frame().opcode != PONG:
            pass  # whatever the first one said so far
        gate.touch()
        until(other, "error", cells[0])
        behind = execute(other, "'ran' in dir()")
        assert [until(one, "execute_reply", cell)["content"]["status"] for cell in cells] == ["error", "aborted", "aborted"]
        assert until(other, "execute_result", behind)["content"]["data"]["text/plain"] == "False"
    one.socket.close()
    other.socket.close()


# ---- who brings no token --------------------------------------------------------------------------


def test_connections_without_the_token_are_refused(base):
    kernel = web.post(f"{base}/api/kernels", params={"token": SECRET}).json()["id"]
    for query, headers in (("", ()), ("?token=wrong", ()), ("", ["Authorization: token wrong"])):
        with pytest.raises(Refused) as refused:
            Socket(base, f"/api/kernels/{kernel}/channels{query}", headers)
        assert refused.value.status == 401 and refused.value.json()["reason"] == "Unauthorized"
