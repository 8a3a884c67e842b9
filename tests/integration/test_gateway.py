"""The Jupyter gateway's REST routes: listeners, tokens, origins, kernelspecs, kernels (contracts/jupyter.md 2, 5)."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from harness import web
from harness.execd import EXECD, TOKEN, TOKEN_HEADER, Execd, children, eventually

FAKE = Path(__file__).with_name("fake_kernel.py")


def write_spec(folder, name, language="python", argv=None, files=(), **keys):
    spec = folder / "kernels" / name
    spec.mkdir(parents=True)
    argv = argv or [sys.executable, str(FAKE), "{connection_file}"]
    (spec / "kernel.json").write_text(json.dumps({"argv": argv, "language": language, "display_name": name, **keys}))
    for file, data in dict(files).items():
        (spec / file).write_bytes(data)
    return spec


@pytest.fixture(scope="module")
def specs(tmp_path_factory):
    """A JUPYTER_PATH whose python3 is ours, so that the tests depend on no kernel of the machine."""
    folder = tmp_path_factory.mktemp("jupyter")
    spec = write_spec(folder, "python3", files={"logo-64x64.png": b"\x89PNG small", "kernel.js": b"// js",
                                                ".hidden": b"no", "big.bin": b"x" * ((1 << 20) + 1)})
    (spec / "logo-out.png").symlink_to("/etc/passwd")
    write_spec(folder, "other", language="other", interrupt_mode="message", env={"A": "b"},
               metadata={"debugger": True, "n": 1.5, "execd": {"transports": ["ipc"]}})
    return folder


def gateway_port(agent, nth=0):
    entries = [e for e in agent.log if e["msg"] == "listening"]
    return int(entries[nth]["port"])


@pytest.fixture(scope="module")
def agent(tmp_path_factory, specs):
    folder = tmp_path_factory.mktemp("gateway")
    with Execd(folder, "--gateway-listen", "127.0.0.1:0", "--gateway-token", "gate", "--allow-origin",
               "https://lab.example", env={"JUPYTER_PATH": str(specs), "EXECD_ZYGOTE": "off"}) as running:
        running.client.get("/ping")
        yield running


@pytest.fixture
def gateway(agent):
    """A client of the gateway listener, without a token."""
    with httpx.Client(base_url=f"http://127.0.0.1:{gateway_port(agent)}", timeout=20) as client:
        yield client


def is_jupyter_error(response, status):
    assert response.status_code == status, response.text
    body = response.json()
    assert body["reason"] and body["message"] and body["code"], body
    return body


# ---- version, noise, errors -----------------------------------------------------------------------


def test_version_and_query_noise(agent):
    for path in ("/api", "/api?1795221464435", "/api?1795221464435&user=x"):
        assert re.match(r"\d+\.\d+", agent.client.get(path).json()["version"])
    head = agent.client.head("/api")
    assert head.status_code == 200 and head.content == b""


@pytest.mark.parametrize("method, path", [("GET", "/api/"), ("GET", "/api/kernels/"), ("GET", "/api/nothing"),
                                          ("GET", "/kernelspecs/python3"), ("POST", "/api/nothing/at/all")])
def test_unknown_paths_answer_with_reason_and_message(agent, method, path):
    assert is_jupyter_error(agent.client.request(method, path), 404)["reason"] == "Not Found"


def test_a_wrong_method_is_told_as_elsewhere(agent):
    response = agent.client.delete("/api/kernelspecs")
    assert is_jupyter_error(response, 405)["code"] == "METHOD_NOT_ALLOWED"
    assert set(response.headers["Allow"].split(", ")) == {"GET", "HEAD"}


def test_me_grants_what_is_asked(agent):
    asked = {"contents": ["read", "write"]}
    answer = agent.client.get("/api/me", params={"permissions": json.dumps(asked)}).json()
    assert answer["permissions"] == asked and answer["identity"]["username"]
    for bad in ("[]", "{", '{"contents": "read"}'):
        is_jupyter_error(agent.client.get("/api/me", params={"permissions": bad}), 400)


# ---- tokens ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["token", "Token", "TOKEN", "bearer", "Bearer"])
@pytest.mark.parametrize("value", [TOKEN, "gate"])
def test_token_by_authorization_in_any_case(agent, gateway, scheme, value):
    headers = {"Authorization": f"{scheme} {value}"}
    assert gateway.get("/api", headers=headers).status_code == 200
    with agent.new_client(token=None) as main:  # the gateway's own token is for its listeners alone
        assert main.get("/api", headers=headers).status_code == (200 if value == TOKEN else 401)


@pytest.mark.parametrize("headers, query", [
    ({}, ""), ({}, "?token="), ({}, "?token=wrong"), ({"Authorization": "token"}, ""),
    ({"Authorization": "token wrong"}, ""), ({"Authorization": "Basic Z2F0ZTo="}, ""),
    ({"Authorization": "gate"}, ""), ({TOKEN_HEADER: "wrong"}, "?token=gate"),
])
def test_wrong_tokens_are_refused(gateway, headers, query):
    body = is_jupyter_error(gateway.get("/api" + query, headers=headers), 401)
    assert body["reason"] == "Unauthorized" and "gate" not in body["message"]
    assert "?token=" in body["message"] and "Authorization: token" in body["message"] and TOKEN_HEADER in body["message"]


def test_token_by_query(agent, gateway):
    for value in (TOKEN, "gate"):
        assert gateway.get("/api/kernelspecs", params={"token": value}).status_code == 200
    with agent.new_client(token=None) as main:
        assert main.get("/api", params={"token": TOKEN}).status_code == 200
        assert main.get("/ports", params={"token": TOKEN}).status_code == 401, "for the gateway's routes only"
        assert main.get("/ports", headers={"Authorization": f"token {TOKEN}"}).status_code == 401


def test_the_gateways_token_opens_nothing_else(gateway):
    for headers in ({TOKEN_HEADER: "gate"}, {"Authorization": "token gate"}):
        assert gateway.get("/ports", headers=headers).status_code == 401
        assert gateway.post("/command", headers=headers, json={"command": "id"}).status_code == 401
    assert gateway.get("/ports", headers={TOKEN_HEADER: TOKEN}).status_code == 200
    assert gateway.get("/ping").status_code == 200


def test_an_open_gateway_opens_kernels_and_nothing_else(start_execd, specs):
    agent = start_execd("--gateway-listen", "127.0.0.1:0", "--gateway-open", token=None, listen=False,
                        env={"JUPYTER_PATH": str(specs)})
    agent.wait_log(msg="listening")
    base = f"http://127.0.0.1:{gateway_port(agent)}"
    assert web.get(base + "/api").status_code == 200
    assert web.get(base + "/api", headers={"Authorization": "token"}).status_code == 200
    assert web.get(base + "/api/kernelspecs", headers={"Authorization": "token whatever"}).status_code == 200
    for path in ("/ports", "/nothing", "/files/info?path=/", "/proxy/1/x"):
        answer = web.get(base + path)
        assert answer.status_code == 403 and answer.json()["code"] == "FORBIDDEN", path
        assert "serves Jupyter's routes only" in answer.json()["message"], "what opens nothing is not asked for"
    assert [e["where"] for e in agent.log if e["msg"] == "listening"] == ["127.0.0.1:0"], "nothing else is served"


@pytest.mark.parametrize("host, status", [
    ("localhost:8888", 200), ("lab.localhost", 200), ("127.0.0.1", 200), ("[::1]:8888", 200), ("10.0.0.7", 200),
    ("lab.example:8888", 200), ("rebound.example:8888", 403), ("localhost.rebound.example", 403), ("127.0.0.1.example", 403),
])
def test_E07_an_open_gateway_answers_under_names_only_that_nobody_else_owns(start_execd, specs, host, status):
    """DNS rebinding: to a browser the page and what it asks are one origin, and Origin says nothing."""
    agent = start_execd("--gateway-listen", "127.0.0.1:0", "--gateway-open", "--allow-origin", "https://lab.example",
                        env={"JUPYTER_PATH": str(specs)})
    agent.client.get("/ping")
    base = f"http://127.0.0.1:{gateway_port(agent)}"
    answer = web.get(base + "/api/kernels", headers={"Host": host})
    assert answer.status_code == status, answer.text
    if status == 403:
        assert is_jupyter_error(answer, 403)["code"] == "FORBIDDEN"
        assert web.post(base + "/api/kernels", headers={"Host": host, "Origin": f"http://{host}"}).status_code == 403
    with_token = web.get(base + "/api/kernels", headers={"Host": host, "Authorization": f"token {TOKEN}"})
    assert with_token.status_code == 200, "who has the token may call us as he likes"


@pytest.mark.parametrize("name", ["KG_AUTH_TOKEN", "EG_AUTH_TOKEN", "JUPYTER_TOKEN", "EXECD_GATEWAY_TOKEN"])
def test_tokens_of_images_are_taken_and_not_passed_on(start_execd, name):
    agent = start_execd("--gateway-listen", "127.0.0.1:0", env={name: "canary-4711"})
    agent.client.get("/ping")
    base = f"http://127.0.0.1:{gateway_port(agent)}/api"
    assert web.get(base).status_code == 401
    assert web.get(base, headers={"Authorization": "token canary-4711"}).status_code == 200
    events = agent.command("env; cat /proc/$PPID/environ | tr '\\0' '\\n'")
    assert "canary-4711" not in json.dumps(events) and "canary-4711" not in "\n".join(agent.lines)


# ---- listeners ------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["0.0.0.0:0", "[::]:0"])
def test_no_exposed_gateway_without_a_token(tmp_path, where):
    ended = subprocess.run([EXECD, "--gateway-listen", where], env={"PATH": os.environ["PATH"]}, timeout=10,
                           capture_output=True, text=True, cwd=tmp_path)
    assert ended.returncode == 2 and "--gateway-open" in ended.stderr, ended.stderr


def test_jupyter_port_names_the_inner_listener(tmp_path, start_execd):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    agent = start_execd("--listen", f"unix:{tmp_path}/s", listen=False, env={"JUPYTER_PORT": str(port)})
    agent.wait_log(msg="listening", where=f"127.0.0.1:{port}")
    assert web.get(f"http://127.0.0.1:{port}/api").status_code == 401
    assert web.get(f"http://127.0.0.1:{port}/api", headers={"Authorization": f"token {TOKEN}"}).status_code == 200
    probe = "timeout 5 bash -c ': > /dev/tcp/127.0.0.1/${JUPYTER_PORT:-44771}' && echo open"
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{tmp_path}/s"), headers={TOKEN_HEADER: TOKEN}) as client:
        assert "open" in client.post("http://x/command", json={"command": probe}).text


def test_a_taken_inner_port_is_a_warning(tmp_path, start_execd):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        agent = start_execd("--listen", "127.0.0.1:0", listen=False, env={"JUPYTER_PORT": str(port)})
        agent.wait_log(msg="no listener for programs inside the sandbox")
        assert web.get(f"http://127.0.0.1:{agent.port}/ping").status_code == 200


# ---- pages of other origins -----------------------------------------------------------------------


def test_preflight_needs_no_token(agent, gateway):
    asked = {"Origin": "https://lab.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization, content-type"}
    for path in ("/api", "/api/kernels", "/api/kernels/x/interrupt", "/kernelspecs/python3/logo-64x64.png"):
        answer = gateway.options(path, headers=asked)
        assert answer.status_code == 200 and answer.content == b""
        assert answer.headers["Access-Control-Allow-Origin"] == "https://lab.example"
        assert "POST" in answer.headers["Access-Control-Allow-Methods"]
        assert answer.headers["Access-Control-Allow-Headers"] == "authorization, content-type"
    foreign = gateway.options("/api/kernels", headers={**asked, "Origin": "https://evil.example"})
    assert foreign.status_code == 200 and not [k for k in foreign.headers if k.startswith("access-control")]
    assert gateway.options("/ports", headers=asked).status_code == 401


def test_foreign_origins_are_refused_and_known_ones_told(agent, gateway):
    token = {"Authorization": "token gate"}
    known = gateway.get("/api", headers={**token, "Origin": "https://lab.example"})
    assert known.status_code == 200 and known.headers["Access-Control-Allow-Origin"] == "https://lab.example"
    assert known.headers["Vary"] == "Origin"
    own = gateway.get("/api", headers={**token, "Origin": str(gateway.base_url).rstrip("/")})
    assert own.status_code == 200 and "Access-Control-Allow-Origin" not in own.headers
    for origin in ("https://evil.example", "null"):
        is_jupyter_error(gateway.get("/api", headers={**token, "Origin": origin}), 403)


# ---- kernelspecs ----------------------------------------------------------------------------------


def test_kernelspecs(agent):
    listed = agent.client.get("/api/kernelspecs?1795221464435").json()
    assert listed["default"] == "python3"
    assert {"python3", "other"} <= set(listed["kernelspecs"])
    for name, model in listed["kernelspecs"].items():
        assert model["name"] == name and set(model) == {"name", "spec", "resources"}
        assert {"argv", "env", "display_name", "language", "interrupt_mode", "metadata"} <= set(model["spec"])
        assert all("/kernelspecs/" in address for address in model["resources"].values())
    other = agent.client.get("/api/kernelspecs/other").json()
    assert other["spec"]["interrupt_mode"] == "message" and other["spec"]["env"] == {"A": "b"}
    assert other["spec"]["metadata"] == {"debugger": True, "n": 1.5, "execd": {"transports": ["ipc"]}}
    assert listed["kernelspecs"]["python3"]["spec"]["metadata"] == {}
    assert other == listed["kernelspecs"]["other"]


def test_kernelspec_by_name(agent):
    for name in ("python3", "PYTHON3", "python"):
        assert agent.client.get(f"/api/kernelspecs/{name}").json()["name"] == "python3"
    assert is_jupyter_error(agent.client.get("/api/kernelspecs/none"), 404)["code"] == "KERNELSPEC_NOT_FOUND"


def test_kernelspec_files(agent):
    resources = agent.client.get("/api/kernelspecs/python3").json()["resources"]
    assert resources["logo-64x64"] == "/kernelspecs/python3/logo-64x64.png"
    assert resources["kernel.js"] == "/kernelspecs/python3/kernel.js"
    logo = agent.client.get(resources["logo-64x64"])
    assert logo.content == b"\x89PNG small" and logo.headers["Content-Type"] == "image/png"
    assert "max-age" in logo.headers["Cache-Control"] and logo.headers["Content-Security-Policy"] == "sandbox"
    assert agent.client.head(resources["logo-64x64"]).content == b""
    is_jupyter_error(agent.client.get("/kernelspecs/python3/big.bin"), 413)


@pytest.mark.parametrize("file", [".hidden", "..", "%2e%2e", "..%2fother%2fkernel.json", "none.png", "logo-out.png",
                                  "%2fetc%2fpasswd", "kernel.json%00"])
def test_kernelspec_files_stay_in_their_folder(agent, file):
    response = agent.client.get(f"/kernelspecs/python3/{file}")
    assert response.status_code in (400, 404), response.text
    assert "root:" not in response.text


def test_a_new_kernelspec_is_there_at_once(agent, specs):
    write_spec(specs, "fresh", language="fresh")
    assert agent.client.get("/api/kernelspecs/fresh").json()["spec"]["language"] == "fresh"


# ---- kernels --------------------------------------------------------------------------------------


@pytest.fixture
def kernels(agent):
    """The kernels that a test starts; none is left behind."""
    assert agent.client.get("/api/kernels").json() == []
    yield agent.client
    for model in agent.client.get("/api/kernels").json():
        agent.client.delete(f"/api/kernels/{model['id']}")


def start(client, **body):
    response = client.post("/api/kernels", json=body)
    assert response.status_code == 201, response.text
    return response.json()


def state_of(client, ident):
    return client.get(f"/api/kernels/{ident}").json()["execution_state"]


def when_idle(client, ident):
    eventually(lambda: state_of(client, ident) == "idle", message="the kernel never was idle")
    return ident


def pid_of(agent):
    """The one kernel that runs."""
    found = [pid for pid, state in children(agent.pid)
             if state != "Z" and str(FAKE).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()]
    assert len(found) == 1, found
    return found[0]


def environ_of(pid):
    return dict(line.split("=", 1) for line in Path(f"/proc/{pid}/environ").read_text().split("\0") if "=" in line)


@pytest.mark.parametrize("body", [b"", b"{}", b"null", b'{"name": null}', b'{"name": ""}', b'{"name": "python"}',
                                  b'{"name": "python3", "env": {}}'])
def test_a_kernel_is_started_by_any_harmless_body(kernels, body):
    response = kernels.post("/api/kernels", content=body, headers={"Content-Type": "text/nonsense"})
    model = response.json()
    assert response.status_code == 201 and response.headers["Location"] == f"/api/kernels/{model['id']}"
    assert model["name"] == "python3" and model["execution_state"] == "starting" and model["connections"] == 0
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", model["last_activity"])
    assert kernels.get(f"/api/kernels/{model['id']}").json()["id"] == model["id"]
    assert [m["id"] for m in kernels.get("/api/kernels?1795221464435").json()] == [model["id"]]
    assert kernels.delete(f"/api/kernels/{model['id']}").status_code == 204
    is_jupyter_error(kernels.get(f"/api/kernels/{model['id']}"), 404)


@pytest.mark.parametrize("body", [b"{", b"[]", b"1", b'"x"', b'{"name": 1}', b'{"env": []}', b'{"env": {"A": 1}}',
                                  b'{"kernel_id": "x"}', b'{"path": {}}', b"\xff", b"nulll",
                                  b'{"name": "' + b"n" * 129 + b'"}', b'{"path": "' + b"p" * 5000 + b'"}'])
def test_bad_bodies_start_nothing(kernels, body):
    is_jupyter_error(kernels.post("/api/kernels", content=body), 400)
    assert kernels.get("/api/kernels").json() == []


def test_bad_json_is_told_in_kernel_gateways_words(kernels):
    assert "Invalid JSON in body of request" in kernels.post("/api/kernels", content=b"{").json()["message"]


def test_an_unknown_kernelspec_is_refused_cleanly(kernels):
    body = is_jupyter_error(kernels.post("/api/kernels", json={"name": "nosuch"}), 404)
    for words in ("nosuch", "python (python3)", "other", "add /etc/opensandbox/kernelspecs/NAME/kernel.json"):
        assert words in body["message"], body
    body = kernels.post("/code/context", json={"language": "nosuch"}).json()
    assert "python (python3)" in body["message"] and "bash and sql need none" in body["message"], body


@pytest.mark.parametrize("method, what", [("GET", ""), ("DELETE", ""), ("POST", "/interrupt"), ("POST", "/restart")])
@pytest.mark.parametrize("ident", ["00000000-0000-4000-8000-000000000000", "x", "%2e%2e"])
def test_unknown_kernels(agent, method, what, ident):
    is_jupyter_error(agent.client.request(method, f"/api/kernels/{ident}{what}"), 404)


def test_a_kernel_is_a_code_context_and_the_other_way_round(agent, kernels):
    ident = when_idle(kernels, start(kernels)["id"])
    contexts = {c["id"]: c for c in kernels.get("/code/contexts").json()}
    assert contexts[ident]["language"] == "python"
    other = kernels.post("/code/context", json={"language": "other"}).json()["id"]
    assert {m["id"]: m["name"] for m in kernels.get("/api/kernels").json()} == {ident: "python3", other: "other"}
    assert kernels.delete(f"/code/contexts/{ident}").status_code == 200
    is_jupyter_error(kernels.delete(f"/api/kernels/{ident}"), 404)


def test_environment_of_a_kernel(agent, kernels, tmp_path):
    env = {"KERNEL_USERNAME": "me", "FREE": "yes", "KERNEL_GATEWAY": "0", "KERNEL_WORKING_DIR": str(tmp_path)}
    when_idle(kernels, start(kernels, env=env)["id"])
    pid = pid_of(agent)
    inside = environ_of(pid)
    assert inside["KERNEL_USERNAME"] == "me" and inside["FREE"] == "yes" and inside["KERNEL_GATEWAY"] == "1"
    assert "PATH" in inside and not [name for name in inside if "TOKEN" in name or name.startswith("EXECD_")]
    assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)


@pytest.mark.parametrize("body, below", [
    ({}, ""), ({"path": "sub"}, "sub"), ({"path": "sub/none/deeper.ipynb"}, "sub"), ({"path": "/sub/"}, "sub"),
    ({"path": "../../../../etc"}, ""), ({"env": {"KERNEL_WORKING_DIR": "/no/such/folder"}}, ""),
    ({"env": {"KERNEL_WORKING_DIR": "relative"}, "path": "sub"}, "sub"),
])
def test_where_a_kernel_starts(agent, kernels, body, below):
    (agent.folder / "sub").mkdir(exist_ok=True)
    when_idle(kernels, start(kernels, **body)["id"])
    assert os.readlink(f"/proc/{pid_of(agent)}/cwd") == str(agent.folder / below).rstrip("/")
    assert not Path("/no/such/folder").exists()


def test_ids_that_clients_choose(kernels):
    ident = "12345678-1234-4234-8234-123456789abc"
    assert start(kernels, env={"KERNEL_ID": ident})["id"] == ident
    assert start(kernels, env={"KERNEL_ID": ident})["id"] != ident, "a wish, and taken"
    assert start(kernels, env={"KERNEL_ID": "no uuid"})["id"] != "no uuid"
    assert start(kernels, kernel_id=ident)["id"] == ident, "the kernel that has it"
    assert len(kernels.get("/api/kernels").json()) == 3


def test_restart_keeps_the_id_and_answers_when_ready(agent, kernels):
    model = start(kernels, env={"KEPT": "1"})
    when_idle(kernels, model["id"])
    before = pid_of(agent)
    for content in (b"", b"{}"):
        response = kernels.post(f"/api/kernels/{model['id']}/restart", content=content)
        assert response.status_code == 200 and response.json()["id"] == model["id"]
        assert response.json()["execution_state"] == "idle"
    assert pid_of(agent) != before and environ_of(pid_of(agent))["KEPT"] == "1"


def test_restart_of_a_dead_kernel(agent, kernels):
    ident = when_idle(kernels, start(kernels)["id"])
    os.kill(pid_of(agent), signal.SIGKILL)
    eventually(lambda: state_of(kernels, ident) == "dead")
    assert is_jupyter_error(kernels.post(f"/api/kernels/{ident}/interrupt"), 500)
    assert kernels.post(f"/api/kernels/{ident}/restart").json()["execution_state"] == "idle"


@pytest.mark.parametrize("content", [b"", b"{}", b'{"kernel_id": "x"}', b"no json"])
def test_interrupt(kernels, content):
    ident = when_idle(kernels, start(kernels)["id"])
    response = kernels.post(f"/api/kernels/{ident}/interrupt", content=content)
    assert response.status_code == 204 and response.content == b""


def test_delete_answers_when_the_process_is_gone(agent, kernels):
    ident = when_idle(kernels, start(kernels)["id"])
    pid = pid_of(agent)
    assert kernels.delete(f"/api/kernels/{ident}").status_code == 204
    assert not Path(f"/proc/{pid}").exists()


def test_the_limit_of_kernels_and_its_recovery(start_execd, specs):
    agent = start_execd("--contexts-max", "2", env={"JUPYTER_PATH": str(specs)})
    first, _ = [start(agent.client)["id"] for _ in range(2)]
    body = is_jupyter_error(agent.client.post("/api/kernels"), 403)
    assert body["reason"] == "Forbidden" and "limit" in body["message"]
    assert agent.client.delete(f"/api/kernels/{first}").status_code == 204
    start(agent.client)


def test_the_default_kernel_can_be_named(start_execd, specs):
    agent = start_execd("--default-kernel", "other", env={"JUPYTER_PATH": str(specs)})
    assert agent.client.get("/api/kernelspecs").json()["default"] == "other"
    assert start(agent.client)["name"] == "other"
    assert agent.client.post("/api/kernels", json={"name": "python3"}).json()["name"] == "python3"


def test_a_default_kernel_that_is_not_there_is_told_once(start_execd, specs):
    agent = start_execd("--default-kernel", "nosuch", env={"JUPYTER_PATH": str(specs)})
    told = "the kernel of --default-kernel is not there: another one takes its place"
    for _ in range(2):
        assert agent.client.get("/api/kernelspecs").json()["default"] == "python3"
        assert start(agent.client)["name"] == "python3", "the default is what starts"
    line = agent.wait_log(msg=told)
    assert (line["level"], line["name"], line["instead"]) == ("warn", "nosuch", "python3")
    assert [e["msg"] for e in agent.log].count(told) == 1


def test_status(kernels):
    before = kernels.get("/api/status").json()
    assert before["kernels"] == 0 and before["connections"] == 0
    when_idle(kernels, start(kernels)["id"])
    after = kernels.get("/api/status").json()
    assert after["kernels"] == 1 and after["last_activity"] > before["started"] == after["started"]


# ---- under the name of jupyter --------------------------------------------------------------------


def as_jupyter(tmp_path, specs, *options, env=None):
    shim = tmp_path / "jupyter"
    shim.symlink_to(EXECD)
    return Execd(tmp_path, "kernelgateway", *options, binary=shim, token=None, listen=False,
                 env={"JUPYTER_PATH": str(specs), **(env or {})})


def test_a_drop_in_for_kernel_gateway(tmp_path, specs):
    options = ["--KernelGatewayApp.ip=127.0.0.1", "--KernelGatewayApp.port=0", "--KernelGatewayApp.allow_origin=*",
               "--KernelGatewayApp.some_trait=1"]
    with as_jupyter(tmp_path, specs, *options) as agent:
        base = f"http://127.0.0.1:{agent.port}"
        answer = web.get(base + "/api", headers={"Origin": "https://any.example"})
        assert answer.status_code == 200 and answer.headers["Access-Control-Allow-Origin"] == "*"
        assert web.post(base + "/api/kernels").status_code == 201
        assert web.get(base + "/ports").status_code == 403
        assert any("some_trait has no effect" in line for line in agent.lines)


def test_a_drop_in_with_a_token(tmp_path, specs):
    options = ["--KernelGatewayApp.port=0", '--KernelGatewayApp.auth_token=canary-9', "--JupyterApp.answer_yes=true",
               "--JupyterWebsocketPersonality.list_kernels=true"]
    with as_jupyter(tmp_path, specs, *options) as agent:
        base = f"http://127.0.0.1:{agent.port}/api/kernels"
        assert web.get(base).status_code == 401
        assert web.get(base, headers={"Authorization": "token canary-9"}).json() == []
        assert b"canary-9" not in Path(f"/proc/{agent.pid}/cmdline").read_bytes()


@pytest.mark.parametrize("words, said", [(["lab"], "kernelgateway"), (["kernelgateway", "--certfile=/x"], "certfile")])
def test_other_jupyters_are_refused(tmp_path, words, said):
    (tmp_path / "jupyter").symlink_to(EXECD)
    ended = subprocess.run([tmp_path / "jupyter", *words], env={"PATH": os.environ["PATH"]}, timeout=10,
                           capture_output=True, text=True)
    assert ended.returncode != 0 and said in ended.stderr
