"""Row D62: every field and parameter of the contract, wrong in one place at a time.

Asserted for each: a documented status, the typed envelope, nothing done, and the next request on the same
connection works. The inputs come from proto/api/openapi-execd.yaml (harness/badinput.py).
"""

import json

import pytest

from harness.badinput import body_mutations, parameter_mutations
from harness.contract import Contract, filled
from harness.execd import Execd, children, eventually

CONTRACT = Contract("execd")
# Statuses that refuse an input; 404 where the path of the operation names something.
REFUSED = (400, 404, 409, 413, 414)
# What upstream answers when there is nothing to interrupt, and clients expect (contracts/execd.md 1.4).
NOTHING_TO_INTERRUPT = 500


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    with Execd(tmp_path_factory.mktemp("bad")) as running:
        running.client.get("/ping")
        yield running


@pytest.fixture(scope="module")
def ended(agent):
    """A background command that has ended: its parameters are looked at, not only its id."""
    ident = agent.command("true", background=True)[0]["text"]
    eventually(lambda: not agent.client.get(f"/command/status/{ident}").json()["running"])
    return ident


def ask(agent, method, url, content=None):
    """One request; the body is read only of an error: a stream that was not to begin may have no end."""
    with agent.client.stream(method, url, content=content) as response:
        if response.status_code >= 400:
            response.read()
        else:
            response._content = b"(not read)"  # so that .text works on it
        return response


def effect(target):
    """Bodies that are right, and that leave `target` behind when they are taken: by operationId."""
    return {
        "runCommand": {"command": f"touch {target}"},
        "runCode": {"code": f"touch {target}"},
    }


def sample(schema, target):
    """A right value for a schema, made of its required fields; every text names `target`."""
    schema = CONTRACT.resolve(schema)
    for key in ("anyOf", "oneOf"):
        if key in schema:
            return sample(schema[key][0], target)
    kind = schema.get("type")
    kind = kind[0] if isinstance(kind, list) else kind
    if kind == "object":
        fields = schema.get("properties", {})
        return {name: sample(fields[name], target) for name in schema.get("required", [])}
    if "enum" in schema:
        return schema["enum"][0]
    return {"array": [], "integer": schema.get("minimum", 1), "number": 1, "boolean": False}.get(
        kind, str(target))


def json_operations():
    for method, path, operation in CONTRACT.operations():
        content = operation.get("requestBody", {}).get("content", {})
        if "application/json" in content:
            yield pytest.param(method, path, operation, content["application/json"]["schema"], id=f"{method} {path}")


def tree(folder):
    """What is below a folder: names, sizes, modes."""
    return sorted((str(p), p.lstat().st_size, p.lstat().st_mode) for p in folder.rglob("*"))


def state(agent):
    """What a request could have changed: files, contexts, processes."""
    return tree(agent.folder), agent.client.get("/code/contexts").text, len(children(agent.pid))


def check_refused(agent, response, label, operation):
    assert response.status_code in REFUSED, f"{label}: {response.status_code} {response.text[:200]}"
    assert str(response.status_code) in operation["responses"] or response.status_code in (400, 413, 414), \
        f"{label}: {response.status_code} is not documented"
    CONTRACT.check_error(response, response.status_code)
    assert agent.client.get("/ping").status_code == 200, label


@pytest.mark.parametrize("method, path, operation, schema", json_operations())
def test_D62_bodies(agent, method, path, operation, schema):
    target = agent.folder / "effect"
    base = effect(target).get(operation["operationId"]) or sample(schema, target)
    before, seen = state(agent), 0
    for label, body in body_mutations(CONTRACT, schema, base):
        if body == b"" and not operation["requestBody"].get("required"):
            continue
        response = ask(agent, method, filled(path), content=body)
        check_refused(agent, response, label, operation)
        seen += 1
    assert seen > 10
    assert state(agent) == before, "a refused request did something"


def parameters(*methods):
    for method, path, operation in CONTRACT.operations():
        if methods and method not in methods:
            continue
        item = CONTRACT.doc["paths"].get(path, {})
        named = [CONTRACT.resolve(p) for p in item.get("parameters", []) + operation.get("parameters", [])]
        if any(p["in"] == "query" for p in named):
            yield pytest.param(method, path, operation, [p for p in named if p["in"] == "query"], id=f"{method} {path}")


@pytest.mark.parametrize("method, path, operation, named", parameters())
def test_D62_query_parameters(agent, ended, method, path, operation, named):
    before = state(agent)
    url = filled(path, id=ended)
    required = [p["name"] for p in named if p.get("required")]
    if required:
        response = ask(agent, method, url)
        check_refused(agent, response, f"without {required}", operation)
    for parameter in named:
        for label, text in parameter_mutations(CONTRACT, parameter):
            others = "".join(f"&{name}=x" for name in required if name != parameter["name"])
            response = ask(agent, method, f"{url}?{parameter['name']}={text}{others}")
            check_refused(agent, response, f"{parameter['name']}: {label}", operation)
    assert state(agent) == before, "a refused request did something"


@pytest.mark.parametrize("method, path, operation, named", parameters("GET", "DELETE"))
def test_D62_texts_that_name_nothing(agent, method, path, operation, named):
    """Bytes that are no UTF-8 can name a file, and nothing else; here nothing has such a name."""
    before = state(agent)
    for parameter in named:
        for text in ("a%ff%feb", "%c0%af", "%ed%a0%80", "x" * 5000, "%f0%9f%92%a9", "%0d%0aX-Split:%20yes"):
            response = ask(agent, method, f"{filled(path)}?{parameter['name']}={text}", content=b"")
            assert response.status_code < 500 or operation["operationId"].startswith("interrupt"), response.text
            assert "x-split" not in response.headers
            if response.status_code >= 400:
                CONTRACT.check_error(response, response.status_code)
    assert state(agent) == before


UNKNOWN = ("nothing", "0", "-1", "%00", "a%00b", "%ff%fe", "%2e%2e", "x" * 300, "%F0%9F%92%A9", "a%2fb", "*", "'%22")


def test_D62_unknown_ids(agent):
    """Ids in paths are keys, never file names: whatever they are made of, nothing has them."""
    before, seen = state(agent), 0
    for method, path, operation in CONTRACT.operations():
        # A preflight asks nothing of what the path names; a document's path is no id, and ".." of the top is the top.
        if "{" not in path or method == "OPTIONS" or path.startswith("/api/contents"):
            continue
        for ident in UNKNOWN:
            url = "/".join(ident if part.startswith("{") else part for part in path.split("/"))
            response = ask(agent, method, url, content=b"{}" if "requestBody" in operation else None)
            assert response.status_code in REFUSED, f"{method} {url}: {response.status_code} {response.text[:200]}"
            if method != "HEAD":
                CONTRACT.check_error(response, *REFUSED)
            seen += 1
    assert seen >= 12 * len(UNKNOWN) // 2
    assert state(agent) == before


def test_D62_finished_ids(agent):
    """A command that has ended is still known, and takes no input and no signal any more."""
    ident = agent.command("true")[0]["text"]
    assert agent.client.get(f"/command/status/{ident}").json()["running"] is False
    for method, path in (("POST", f"/command/{ident}/stdin"), ("DELETE", f"/command/{ident}/stdin")):
        CONTRACT.check_error(ask(agent, method, path, content=b"late"), 404, 409)
    again = agent.client.delete("/command", params={"id": ident})
    CONTRACT.check_error(again, NOTHING_TO_INTERRUPT)
    status = agent.client.get(f"/command/status/{ident}").json()
    assert status["running"] is False and status["exit_code"] == 0


def test_null_is_absent_and_unknown_keys_are_ignored(agent):
    schema = CONTRACT.doc["components"]["schemas"]["RunCommandRequest"]["properties"]
    body = {**{name: None for name in schema}, "command": "echo right", "no such key": {"a": [1, None]}}
    response = agent.client.post("/command", content=json.dumps(body))
    assert response.status_code == 200 and "right\\n" in response.text
