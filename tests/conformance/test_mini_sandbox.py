"""The five session classes of the mini sandbox (package jupyter_kernel_client 0.1.0), which no index carries: written down
again by what they put on the wire (contracts/jupyter.md 4.2 to 4.6), byte for byte where it matters, against one execd
that is gateway and file server."""

import asyncio
import json
import queue
import threading
import time
import uuid

import aiohttp
import pytest
import requests
import websocket
from websockets.asyncio.client import connect

from harness.execd import eventually
from harness.jupyter import Gateway, write_spec

TOKEN, WRITE_TOKEN = "gateway-token-0b8e", "write-token-5f20"


class Room:
    """One container's worth: what their compose file starts three of."""

    def __init__(self, agent, shared):
        agent.client.get("/ping")  # now all its listeners are in the log
        ports = [entry["port"] for entry in agent.log if entry["msg"] == "listening" and entry["port"] != "0"]
        self.agent, self.shared = agent, shared
        self.guarded, self.open, files = (f"127.0.0.1:{port}" for port in ports)
        self.files = f"http://{files}"


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mini")
    shared = folder / "data-shared"
    shared.mkdir()
    with Gateway(folder, "--gateway-listen", "127.0.0.1:0", "--gateway-token", TOKEN, "--file-server", "127.0.0.1:0",
                 "--file-server-root", str(shared), env={"WRITE_TOKEN": WRITE_TOKEN}, token=None) as agent:
        yield Room(agent, shared)


def execute_message(code, session):
    """No user name, no date, no buffers, and only what they set of the content."""
    return {"header": {"msg_id": uuid.uuid4().hex, "session": session, "msg_type": "execute_request", "version": "5.0"},
            "parent_header": {}, "metadata": {}, "content": {"code": code, "silent": False}, "channel": "shell"}


class GatewayKernelSession:
    """requests and websocket-client; a thread that reads text frames; ends at execute_result or error, at nothing else."""

    def __init__(self, address, kernel_name="python3", launch_env=None, startup_timeout=30):
        self.http, self.ws_base = f"http://{address}", f"ws://{address}"
        self.session_id = uuid.uuid4().hex
        body = {"name": kernel_name, **({"env": launch_env} if launch_env else {})}
        answer = requests.post(f"{self.http}/api/kernels", json=body, timeout=startup_timeout)
        answer.raise_for_status()
        self.kernel_id = answer.json()["id"]
        self.ws = websocket.create_connection(f"{self.ws_base}/api/kernels/{self.kernel_id}/channels?session_id={self.session_id}")
        self.messages = queue.Queue()
        self.broken = None
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self):
        try:
            while True:
                self.messages.put(json.loads(self.ws.recv()))
        except (websocket.WebSocketException, OSError):
            pass
        except ValueError as error:  # an empty frame at the end is theirs to survive; any other is not
            self.broken = error

    def execute(self, code, timeout=10):
        message = execute_message(code, self.session_id)
        self.ws.send(json.dumps(message))
        output = ""
        while True:
            try:
                found = self.messages.get(timeout=timeout)
            except queue.Empty:
                return output
            if found.get("parent_header", {}).get("msg_id") != message["header"]["msg_id"]:
                continue
            if found["msg_type"] == "stream":
                output += found["content"]["text"]
            elif found["msg_type"] == "execute_result":
                return output + found["content"]["data"]["text/plain"]
            elif found["msg_type"] == "error":
                raise RuntimeError("Kernel error:\n" + "\n".join(found["content"]["traceback"]))

    def shutdown(self):
        self.ws.close()
        answer = requests.delete(f"{self.http}/api/kernels/{self.kernel_id}", timeout=30)
        assert answer.status_code == 204

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.shutdown()


def kernels(room):
    return [model["id"] for model in requests.get(f"http://{room.open}/api/kernels", timeout=10).json()]


def test_sync_session(room):
    with GatewayKernelSession(room.open, launch_env={"FOO": "bar"}) as session:
        assert session.kernel_id in kernels(room)
        assert session.execute("2 + 2") == "4"
        assert session.execute("print('a'); import sys; print('b', file=sys.stderr); 7") in ("a\nb\n7", "b\na\n7")
        assert session.execute("import os; os.environ['FOO']") == "'bar'"
        assert session.execute("x = 1", timeout=1) == ""  # without a result they wait in vain: theirs
        assert session.execute("x") == "1"
        # Last: they do not wait for the end of what failed, and what is asked before it a kernel drops.
        with pytest.raises(RuntimeError, match="ZeroDivisionError"):
            session.execute("1/0")
    assert session.kernel_id not in kernels(room)


def figures(room):
    """The page that Prometheus reads; name{labels} → value."""
    text = room.agent.client.get("/metrics", headers={"Accept": "text/plain"}).text
    lines = [line.rpartition(" ") for line in text.splitlines() if line.startswith("kernel_")]
    return {name.replace('{kernel_type="python3"', "{").replace("{,", "{").replace("{}", ""): float(value)
            for name, _, value in lines}


def test_prometheus_session(room):
    """Their session counts on its own side; the page of the server has the same names, and the same figures."""
    counts = {"success": 0, "error": 0}
    before = figures(room)
    with GatewayKernelSession(room.open) as session:
        begun, durations = time.monotonic(), []
        for code in ("1", "import time; time.sleep(0.3); 2", "1/0"):
            try:
                sent = time.monotonic()
                session.execute(code)
                durations.append(time.monotonic() - sent)
                counts["success"] += 1
            except RuntimeError:
                counts["error"] += 1
        took = time.monotonic() - begun
        errors = 'kernel_execution_total{status="error"}'
        after = eventually(lambda: (now := figures(room))[errors] > before.get(errors, 0) and now)
        assert after["kernel_active"] == len(kernels(room))
    assert counts == {"success": 2, "error": 1}

    def grown(name):
        return after[name] - before.get(name, 0)

    assert {status: grown(f'kernel_execution_total{{status="{status}"}}') for status in counts} == counts
    assert grown("kernel_execution_time_seconds_count") == grown('kernel_execution_time_seconds_bucket{le="+Inf"}') == 2
    assert 0.3 <= grown("kernel_execution_time_seconds_sum") <= took
    # A busy machine may take longer for the first cell, too; the server cannot have seen more than the client.
    assert (durations[0] < 0.25) <= grown('kernel_execution_time_seconds_bucket{le="0.25"}') <= 1
    assert grown("kernel_startup_time_seconds_count") == 1
    assert 0 < after["kernel_startup_time_seconds_sum"]
    assert grown('kernel_retry_total{operation="execute"}') == 1 and grown('kernel_retry_total{operation="startup"}') == 0
    assert eventually(lambda: figures(room)["kernel_active"] == len(kernels(room)))


def test_kernels_that_end_and_those_that_do_not_start_are_counted(room):
    """By any way in: a cell whose kernel dies, one through /code, and a kernel of another type that cannot start."""
    before = figures(room)
    with GatewayKernelSession(room.open) as session:
        session.ws.send(json.dumps(execute_message("import os; os._exit(3)", session.session_id)))
        eventually(lambda: figures(room)['kernel_execution_total{status="error"}'] >
                   before.get('kernel_execution_total{status="error"}', 0))
    answer = room.agent.client.post("/code", json={"code": "1+1", "context": {"language": "python"}})
    assert answer.status_code == 200
    after = figures(room)
    assert after['kernel_execution_total{status="success"}'] > before.get('kernel_execution_total{status="success"}', 0)
    write_spec(room.agent.folder, "broken", {"argv": ["/bin/false"], "display_name": "b", "language": "b"})
    requests.post(f"http://{room.open}/api/kernels", json={"name": "broken"}, timeout=30)
    failed = 'kernel_retry_total{kernel_type="broken",operation="startup"}'
    found = eventually(lambda: (now := figures(room)).get(failed) and now)
    assert found[failed] == 1 and found['kernel_active{kernel_type="broken"}'] == 0
    assert found['kernel_startup_time_seconds_count{kernel_type="broken"}'] == 0


def test_async_session_with_a_token(room):
    async def main():
        headers = {"Authorization": f"Token {TOKEN}"}
        base = f"http://{room.guarded}/api/kernels"
        async with aiohttp.ClientSession() as http:
            async with http.post(base, json={"name": "python3"}) as refused:
                assert refused.status in (401, 403)
            async with http.post(base, json={"name": "python3"}, headers=headers) as answer:
                assert answer.status == 201
                ident = (await answer.json())["id"]
            uri = f"ws://{room.guarded}/api/kernels/{ident}/channels?session_id={uuid.uuid4().hex}"
            async with connect(uri, additional_headers=headers, open_timeout=10) as ws:
                message = execute_message("print('x'); 40 + 2", uuid.uuid4().hex)
                await ws.send(json.dumps(message))
                output = ""
                while True:
                    found = json.loads(await asyncio.wait_for(ws.recv(), 20))
                    if found.get("parent_header", {}).get("msg_id") != message["header"]["msg_id"]:
                        continue
                    if found["msg_type"] == "stream":
                        output += found["content"]["text"]
                    elif found["msg_type"] == "execute_result":
                        output += found["content"]["data"]["text/plain"]
                        break
                assert output == "x\n42"
            async with http.delete(f"{base}/{ident}", headers=headers) as answer:
                assert answer.status == 204

    asyncio.run(main())


def test_pool(room):
    """Started one after the other, taken from the end, put back, shut down together; each its own kernel."""
    pool = [GatewayKernelSession(room.open) for _ in range(3)]
    assert len({session.kernel_id for session in pool}) == 3
    first = pool.pop()
    assert first.execute("y = 1; y") == "1"
    second = pool.pop()
    with pytest.raises(RuntimeError, match="NameError"):
        second.execute("y")
    pool += [second, first]
    assert pool.pop().execute("y") == "1"
    pool.append(first)
    for session in (*pool, second)[:3]:
        session.shutdown()
    assert not {session.kernel_id for session in pool} & set(kernels(room))


class KernelAuthManager:
    """The file server's client: the header is called `token`."""

    def __init__(self, url, token):
        self.url, self.headers = url, {"token": token}

    def validate_token(self):
        return requests.get(f"{self.url}/list", headers=self.headers, timeout=10).status_code == 200

    def upload(self, name, content):
        return requests.post(f"{self.url}/upload", files={"file": (name, content)}, headers=self.headers, timeout=10).status_code

    def download(self, name):
        return requests.get(f"{self.url}/read/{name}", timeout=10)

    def delete(self, name):
        return requests.delete(f"{self.url}/delete/{name}", headers=self.headers, timeout=10).status_code


def test_authenticated_session(room):
    """Token and address reach the kernel by its environment; kernel and file server share a folder."""
    files = KernelAuthManager(room.files, WRITE_TOKEN)
    env = {"FILE_SERVER_URL": room.files, "WRITE_TOKEN": WRITE_TOKEN}
    with GatewayKernelSession(room.open, launch_env=env) as session:
        assert session.execute("import os; os.environ['WRITE_TOKEN']") == repr(WRITE_TOKEN)
        assert session.execute("os.environ['FILE_SERVER_URL']") == repr(room.files)
        assert files.validate_token() and files.upload("in.txt", b"from outside") == 200
        assert session.execute(f"open({str(room.shared / 'in.txt')!r}).read()") == "'from outside'"
        session.execute(f"open({str(room.shared / 'out.txt')!r}, 'w').write('from inside')")
        assert files.download("out.txt").text == "from inside"
        session.execute("import urllib.request as u; u.urlopen(os.environ['FILE_SERVER_URL'] + '/read/in.txt').read().decode()")
        assert files.delete("out.txt") == 200 and files.download("out.txt").status_code == 404
        assert KernelAuthManager(room.files, "wrong").upload("x", b"") == 403
    with GatewayKernelSession(room.open) as session:  # who is not given the token has none
        assert session.execute("import os; os.environ.get('WRITE_TOKEN', 'none')") == "'none'"
