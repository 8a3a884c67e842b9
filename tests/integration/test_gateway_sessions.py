"""Jupyter sessions: documents and their kernels (contracts/jupyter.md 2.8)."""

import json
import os
import sys
from pathlib import Path

import pytest

from harness.execd import Execd, eventually

FAKE = Path(__file__).with_name("fake_kernel.py")


@pytest.fixture(scope="module")
def agent(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sessions")
    for name in ("python3", "other"):
        spec = folder / "share/kernels" / name
        spec.mkdir(parents=True)
        (spec / "kernel.json").write_text(json.dumps(
            {"argv": [sys.executable, str(FAKE), "{connection_file}"], "language": name.rstrip("3"),
             "display_name": name}))
    with Execd(folder, "--contexts-max", "4",
               env={"JUPYTER_PATH": str(folder / "share"), "EXECD_ZYGOTE": "off"}) as running:
        yield running


@pytest.fixture
def client(agent):
    yield agent.client
    for kernel in agent.client.get("/api/kernels").json():
        agent.client.delete(f"/api/kernels/{kernel['id']}")
    assert agent.client.get("/api/sessions").json() == []


def create(client, **body):
    response = client.post("/api/sessions", json=body)
    assert response.status_code == 201, response.text
    session = response.json()
    assert response.headers["Location"] == f"/api/sessions/{session['id']}"
    return session


def kernels(client):
    return [kernel["id"] for kernel in client.get("/api/kernels").json()]


def is_error(response, status):
    assert response.status_code == status, response.text
    assert {"code", "reason", "message"} <= set(response.json())
    return response.json()


def test_a_session_has_a_kernel_of_its_own(client):
    session = create(client, path="a.ipynb", type="notebook", name="a", kernel={"name": "python3"})
    assert (session["path"], session["type"], session["name"]) == ("a.ipynb", "notebook", "a")
    assert session["notebook"] == {"path": "a.ipynb", "name": "a"}
    assert {"id", "name", "last_activity", "execution_state", "connections"} <= set(session["kernel"])
    assert kernels(client) == [session["kernel"]["id"]]
    listed = client.get("/api/sessions?1795221464435").json()
    assert [s["id"] for s in listed] == [session["id"]]
    assert client.get(f"/api/sessions/{session['id']}").json()["path"] == "a.ipynb"
    assert client.delete(f"/api/sessions/{session['id']}").status_code == 204
    assert kernels(client) == []
    is_error(client.get(f"/api/sessions/{session['id']}"), 404)
    is_error(client.delete(f"/api/sessions/{session['id']}"), 404)


@pytest.mark.parametrize("body", [
    {"notebook": {"path": "old.ipynb"}, "kernel": {"name": "python3"}},
    {"notebook": {"name": "old.ipynb"}, "kernel": {}},
    {"notebook": {"path": "old.ipynb"}, "kernel": None, "path": None},
])
def test_the_older_body(client, body):
    session = create(client, **body)
    assert session["type"] == "notebook" and session["notebook"]["path"] == session["path"] == "old.ipynb"


def test_the_same_path_is_the_same_session(client):
    first = create(client, path="x", type="console")
    assert create(client, path="x", type="console", kernel={"name": "other"})["id"] == first["id"]
    assert "notebook" not in first and len(kernels(client)) == 1


def test_a_session_for_a_kernel_that_is_there(client):
    kernel = client.post("/api/kernels").json()["id"]
    session = create(client, path="x", type="file", kernel={"id": kernel, "name": "other"})
    assert session["kernel"]["id"] == kernel == kernels(client)[0]
    gone = create(client, path="y", type="file", kernel={"id": "00000000-0000-4000-8000-000000000000"})
    assert gone["kernel"]["id"] not in (kernel, "00000000-0000-4000-8000-000000000000")


@pytest.mark.parametrize("body", [{}, {"path": "x"}, {"type": "notebook"}, {"path": "", "type": "notebook"},
                                  {"path": 1, "type": "x"}, {"path": "x", "type": "y", "kernel": "python3"},
                                  {"path": "p" * 4097, "type": "x"}, [], "x"])
def test_bad_bodies(client, body):
    is_error(client.post("/api/sessions", json=body), 400)
    assert kernels(client) == []


def test_an_unknown_kernelspec(client):
    body = is_error(client.post("/api/sessions", json={"path": "x", "type": "y", "kernel": {"name": "nosuch"}}), 501)
    assert body["short_message"] == "nosuch not found"


def test_patch(client):
    session = create(client, path="x", type="notebook", name="n")
    address = f"/api/sessions/{session['id']}"
    assert client.patch(address, json={}).json()["path"] == "x"
    renamed = client.patch(address, json={"path": "y", "name": "m", "type": "file"}).json()
    assert (renamed["path"], renamed["name"], renamed["type"]) == ("y", "m", "file")
    assert renamed["kernel"]["id"] == session["kernel"]["id"]
    changed = client.patch(address, json={"kernel": {"name": "other"}}).json()
    assert changed["kernel"]["name"] == "other" and changed["path"] == "y"
    assert kernels(client) == [changed["kernel"]["id"]], "the kernel before is gone"
    known = client.post("/api/kernels").json()["id"]
    assert client.patch(address, json={"kernel": {"id": known}}).json()["kernel"]["id"] == known
    assert kernels(client) == [known]
    is_error(client.patch(address, json={"kernel": {"id": "00000000-0000-4000-8000-000000000000"}}), 400)
    is_error(client.patch(address, json={"kernel": {"name": "nosuch"}}), 501)
    assert client.get(address).json()["kernel"]["id"] == known, "a failed change changes nothing"
    is_error(client.patch("/api/sessions/none", json={}), 404)


def cwds_of_kernels(agent):
    found = set()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            ours = f"PPid:\t{agent.pid}\n" in (process / "status").read_text()
            if ours and str(FAKE).encode() in (process / "cmdline").read_bytes():
                found.add(os.readlink(process / "cwd"))
        except OSError:
            continue  # gone meanwhile
    return found


def test_a_new_kernel_starts_where_the_document_is(agent, client):
    """The path that the change gives counts, or the one that the session has."""
    for name in ("one", "two"):
        (agent.folder / name).mkdir()
    session = create(client, path="one/a.ipynb", type="notebook")
    address = f"/api/sessions/{session['id']}"
    eventually(lambda: cwds_of_kernels(agent) == {str(agent.folder / "one")})
    client.patch(address, json={"kernel": {"name": "other"}}).raise_for_status()
    eventually(lambda: cwds_of_kernels(agent) == {str(agent.folder / "one")})
    moved = client.patch(address, json={"path": "two/b.ipynb", "kernel": {"name": "python3"}}).json()
    assert (moved["path"], moved["notebook"]["path"]) == ("two/b.ipynb", "two/b.ipynb")
    eventually(lambda: cwds_of_kernels(agent) == {str(agent.folder / "two")})


def test_a_session_goes_with_its_kernel(client):
    session = create(client, path="x", type="notebook")
    client.delete(f"/api/kernels/{session['kernel']['id']}")
    assert client.get("/api/sessions").json() == []
    is_error(client.get(f"/api/sessions/{session['id']}"), 404)
    is_error(client.delete(f"/api/sessions/{session['id']}"), 410)
    is_error(client.delete(f"/api/sessions/{session['id']}"), 404)
    create(client, path="x", type="notebook")


def test_the_limit_of_kernels(client):
    for i in range(4):
        create(client, path=f"{i}", type="notebook")
    is_error(client.post("/api/sessions", json={"path": "one more", "type": "notebook"}), 403)
    assert len(client.get("/api/sessions").json()) == 4


def test_other_methods(client):
    assert set(client.put("/api/sessions").headers["Allow"].split(", ")) == {"GET", "HEAD", "POST"}
