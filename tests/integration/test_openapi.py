"""Live answers against the OpenAPI files: credentials, methods, statuses, error envelopes.

tests/lint/routes.py compares the same files with the route tables.
"""

import json
import os
import re
from pathlib import Path

import pytest

from harness import web
from harness.contract import Contract, filled
from harness.execd import TOKEN_HEADER
from harness.server import SERVER, Server

EXECD, SERVER_API = Contract("execd"), Contract("server")


def ids(operations):
    return [f"{method} {path}" for method, path, _ in operations]


def listed(contract, any_method=False):
    operations = list(contract.operations(any_method))
    return {"argvalues": operations, "ids": ids(operations), "argnames": "method, path, operation"}


# ---- execd ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(**listed(EXECD))
def test_E01_execd_asks_for_the_token(execd, method, path, operation):
    for headers in ({}, {TOKEN_HEADER: ""}, {TOKEN_HEADER: "wrong"}):
        response = execd.new_client(token=None).request(method, filled(path), headers=headers)
        if EXECD.is_open(operation):
            assert response.status_code == 200
        else:
            EXECD.check_error(response, 401)
            assert response.json()["error"] in response.json()["message"]


@pytest.mark.parametrize("path, methods", EXECD.methods().items(), ids=EXECD.methods())
def test_execd_names_the_methods_of_a_path(execd, path, methods):
    other = next(method for method in ("PUT", "PATCH", "POST", "PROPFIND") if method not in methods)
    response = execd.client.request(other, filled(path))
    if methods == {"OPTIONS"}:  # preflights of a whole tree: no path of it is known by that
        EXECD.check_error(response, 404)
        return
    EXECD.check_error(response, 405)
    assert set(response.headers["Allow"].split(", ")) == methods


@pytest.mark.parametrize(**listed(EXECD))
def test_execd_answers_an_empty_request_as_documented(execd, method, path, operation):
    with execd.client.stream(method, filled(path)) as response:
        if not operation.get("x-endless"):
            response.read()
    assert str(response.status_code) in operation["responses"], response.read()
    made = {"/session": "session_id", "/api/terminals": "name", "/api/kernels": "id"}
    if method == "POST" and path in made and response.status_code < 300:
        execd.client.delete(f"{path}/{response.json()[made[path]]}")
    if response.status_code >= 400:
        EXECD.check_error(response, response.status_code)


@pytest.mark.parametrize(**listed(EXECD, any_method=True))
def test_execd_proxies_every_method(execd, method, path, operation):
    response = execd.client.request(method, filled(path))
    status = 502 if path.startswith("/proxy/") else 404 if path.startswith("/v1/isolated/") else 400
    assert response.status_code == status and str(status) in operation["responses"]
    if method != "HEAD":
        EXECD.check_error(response, status)


def test_execd_knows_no_other_path(execd):
    for path in ("/", "/pin", "/ping/", "/v1/ping", "/command/status", "/file"):
        EXECD.check_error(execd.client.get(path), 404)


def test_execd_streams_the_documented_events(execd):
    event = EXECD.doc["components"]["schemas"]["Event"]["properties"]
    for body in ({"command": "echo out; echo err >&2"}, {"command": "exit 3"}, {"argv": ["/does/not/exist"]}):
        events = execd.command(**body)
        assert [events[0]["type"], events[-1]["type"] in ("execution_complete", "error")] == ["init", True]
        for found in events:
            assert found["type"] in event["type"]["enum"]
            assert set(found) <= set(event), found
            assert isinstance(found["timestamp"], int)


def test_execd_describes_what_the_schemas_say(execd, tmp_path):
    schemas = EXECD.doc["components"]["schemas"]
    ident = execd.command("true")[0]["text"]
    answers = {
        "CommandStatus": execd.client.get(f"/command/status/{ident}").json(),
        "Metrics": execd.client.get("/metrics").json(),
        "FileInfo": execd.client.get("/files/info", params={"path": str(tmp_path)}).json()[str(tmp_path)],
    }
    for name, answer in answers.items():
        assert set(schemas[name]["required"]) <= set(answer) <= set(schemas[name]["properties"]), name


# ---- execd-server ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("the built-in runtime needs root")
    if not SERVER.exists():
        pytest.skip("build/execd-server is not built")
    with Server(tmp_path_factory.mktemp("server"), group=f"execd-test-openapi-{os.getpid()}") as running:
        yield running
    for group in Path("/sys/fs/cgroup").glob(f"**/{running.group}"):
        group.rmdir()


@pytest.mark.root
@pytest.mark.parametrize(**listed(SERVER_API))
def test_E01_server_asks_for_the_key(server, method, path, operation):
    for headers in ({}, {"OPEN-SANDBOX-API-KEY": "wrong"}, {"Authorization": "Bearer wrong"}):
        response = web.request(method, server.base + filled(path), headers=headers)
        if SERVER_API.is_open(operation):
            assert response.status_code == 200
        else:
            SERVER_API.check_error(response, 401)


@pytest.mark.root
@pytest.mark.parametrize("path, methods", SERVER_API.methods().items(), ids=SERVER_API.methods())
def test_server_names_the_methods_of_a_path(server, path, methods):
    response = server.client.request("PUT", filled(path))  # no route takes PUT alone
    others = [found for other, found in SERVER_API.methods().items() if covers(other, filled(path))]
    expected = methods.union(*others) - {"OPTIONS"}
    if not expected:  # preflights of a whole tree: no path of it is known by that
        SERVER_API.check_error(response, 404)
        return
    SERVER_API.check_error(response, 405)
    assert set(response.headers["Allow"].split(", ")) == expected


def covers(pattern, path):
    """Is the path one of the pattern's too? /sandbox/create is a /sandbox/{id}."""
    return re.fullmatch(re.sub(r"{\w+}", "[^/]+", pattern), path) is not None


@pytest.mark.root
@pytest.mark.parametrize(**listed(SERVER_API))
def test_server_answers_an_empty_request_as_documented(server, method, path, operation):
    response = server.client.request(method, server.base + filled(path))
    assert str(response.status_code) in operation["responses"], response.text
    assert response.headers["X-Request-ID"]
    if response.status_code >= 400:
        SERVER_API.check_error(response, response.status_code)


@pytest.mark.root
@pytest.mark.parametrize(**listed(SERVER_API, any_method=True))
def test_server_routes_every_method(server, method, path, operation):
    response = server.client.request(method, filled(path))
    assert str(response.status_code) in operation["responses"] and response.status_code in (404, 501)
    if method != "HEAD":
        SERVER_API.check_error(response, response.status_code)


@pytest.mark.root
def test_E03_server_knows_no_other_path(server):
    for path in ("/", "/healthXYZ", "/v1/health", "/docs", "/v2/sandboxes", "/sandboxes/"):
        assert web.get(server.base + path).status_code == 401
        SERVER_API.check_error(server.client.get(path), 404)


@pytest.mark.root
def test_server_refuses_what_the_schema_refuses(server):
    valid = {"image": {"uri": "x"}, "entrypoint": ["true"], "resourceLimits": {}}
    for change in ({"image": None}, {"image": {}}, {"entrypoint": []}, {"entrypoint": "true"}, {"resourceLimits": None},
                   {"timeout": 59}, {"timeout": 60.5}, {"env": {"A": 1}}):
        SERVER_API.check_error(server.client.post("/v1/sandboxes", content=json.dumps({**valid, **change})), 422)
    SERVER_API.check_error(server.client.post("/v1/sandboxes", content=json.dumps(valid)), 404)
