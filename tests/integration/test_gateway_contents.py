"""Documents of Jupyter clients below one root (contracts/jupyter.md 2.9)."""

import base64
import json
import os
import stat

import pytest

from harness.execd import Execd, eventually

KEYS = {"name", "path", "type", "last_modified", "created", "size", "writable", "content", "format", "mimetype"}
NOTEBOOK = {"cells": [{"cell_type": "code", "source": "1 + 1 # \u00fc"}], "metadata": {"big": 12345678901234567890},
            "nbformat": 4, "nbformat_minor": 5}


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "documents"
    (folder / "sub").mkdir(parents=True)
    (folder / "text.txt").write_text("grün\n")
    (folder / "bytes.bin").write_bytes(b"\x00\xff\x80")
    (folder / "note.ipynb").write_text(json.dumps(NOTEBOOK, indent=1))
    (folder / "sub/inner.py").write_text("pass\n")
    (folder / ".hidden").write_text("secret")
    (folder / "out").symlink_to("/etc")
    (folder / "in").symlink_to("sub/inner.py")
    (folder / "passwd").symlink_to("/etc/passwd")
    os.mkfifo(folder / "fifo")
    return folder


@pytest.fixture
def agent(tmp_path, root):
    home = tmp_path / "execd"
    home.mkdir()
    with Execd(home, "--gateway-root", str(root)) as running:
        yield running


@pytest.fixture
def client(agent):
    return agent.client


def is_error(response, *statuses):
    assert response.status_code in statuses, response.text
    assert {"code", "reason", "message"} <= set(response.json())
    return response.json()


def get(client, path, **params):
    response = client.get(f"/api/contents/{path}", params=params)
    assert response.status_code == 200, response.text
    assert set(response.json()) == KEYS
    return response.json()


# ---- reading --------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["/api/contents", "/api/contents/", "/api/contents?1795221464435"])
def test_the_root(client, address):
    model = client.get(address).json()
    assert (model["name"], model["path"], model["type"], model["format"]) == ("", "", "directory", "json")
    found = {entry["name"]: entry for entry in model["content"]}
    assert set(found) == {"sub", "text.txt", "bytes.bin", "note.ipynb", "fifo", "in"}, "nothing hidden, nothing outside"
    assert [found[n]["type"] for n in ("sub", "text.txt", "note.ipynb")] == ["directory", "file", "notebook"]
    assert all(set(entry) == KEYS and entry["content"] is None and entry["format"] is None for entry in found.values())
    assert found["text.txt"]["size"] == 6 and found["sub"]["size"] is None


def test_a_text_a_binary_and_a_notebook(client, root):
    text = get(client, "text.txt")
    assert (text["content"], text["format"], text["mimetype"]) == ("grün\n", "text", "text/plain")
    binary = get(client, "bytes.bin")
    assert base64.b64decode(binary["content"]) == b"\x00\xff\x80"
    assert (binary["format"], binary["mimetype"]) == ("base64", "application/octet-stream")
    note = get(client, "note.ipynb")
    assert (note["type"], note["format"], note["content"]) == ("notebook", "json", NOTEBOOK)
    assert get(client, "sub/inner.py")["path"] == "sub/inner.py"
    assert get(client, "in")["content"] == "pass\n", "a link that stays inside"
    assert client.head("/api/contents/text.txt").content == b""


def test_what_the_client_asks_for(client):
    assert get(client, "text.txt", format="base64")["content"] == base64.b64encode("grün\n".encode()).decode()
    assert get(client, "note.ipynb", type="file")["content"] == json.dumps(NOTEBOOK, indent=1)
    assert get(client, "note.ipynb", content=0)["content"] is None
    assert get(client, "sub", content=0, type="directory")["format"] is None
    for path, params in (("bytes.bin", {"format": "text"}), ("text.txt", {"type": "directory"}),
                         ("text.txt", {"type": "notebook"}), ("sub", {"type": "file"}), ("sub", {"type": "x"}),
                         ("text.txt", {"format": "x"}), ("fifo", {})):
        is_error(client.get(f"/api/contents/{path}", params=params), 400)


@pytest.mark.parametrize("path", ["none", "sub/none", "text.txt/x", ".hidden", "sub/../.hidden", "out/hostname",
                                  "passwd", "out", "%2e%2e/%2e%2e/etc/passwd", "..%2f..%2fetc%2fpasswd", "sub/%00",
                                  "a" * 300, "%ff", "/etc/passwd"])
def test_paths_that_lead_nowhere(client, path):
    """F07, F08: no path leads out of the root."""
    response = client.get(f"/api/contents/{path}")
    assert response.status_code in (400, 404, 500), response.text
    assert "root:" not in response.text and "secret" not in response.text


def test_large_documents_arrive_whole_and_too_large_ones_are_refused(client, root):
    big = "".join(chr(32 + i % 90) for i in range(3 << 20))
    (root / "big.txt").write_text(big)
    assert get(client, "big.txt")["content"] == big
    with open(root / "huge.bin", "wb") as file:
        file.truncate((16 << 20) + 1)
    is_error(client.get("/api/contents/huge.bin"), 413)
    assert get(client, "huge.bin", content=0)["size"] == (16 << 20) + 1


def test_documents_that_nobody_reads_cost_nothing_in_the_end(agent, client, root):
    (root / "big.bin").write_bytes(os.urandom(8 << 20))
    for _ in range(4):
        with client.stream("GET", "/api/contents/big.bin") as response:
            assert response.status_code == 200
    assert len(base64.b64decode(get(client, "big.bin")["content"])) == 8 << 20


def test_a_folder_of_too_many_entries_is_refused_and_never_cut(client, root):
    folder = root / "many"
    folder.mkdir()
    for number in range(10_000):
        (folder / str(number)).touch()
    assert len(get(client, "many")["content"]) == 10_000
    (folder / "one more").touch()
    assert "10000 entries" in is_error(client.get("/api/contents/many"), 413)["message"]
    assert get(client, "many", content=0)["type"] == "directory"
    assert "many" in [model["name"] for model in get(client, "")["content"]]


# ---- saving ---------------------------------------------------------------------------------------


def save(client, path, **body):
    return client.put(f"/api/contents/{path}", json=body)


def test_save_text_binary_and_notebook(client, root):
    made = save(client, "new file.txt", type="file", format="text", content="a\nü\u0000b")
    assert made.status_code == 201 and made.headers["Location"] == "/api/contents/new%20file.txt"
    assert set(made.json()) == KEYS and made.json()["content"] is None
    assert (root / "new file.txt").read_bytes() == "a\nü\0b".encode()
    raw = os.urandom(1000)
    assert save(client, "sub/raw", type="file", format="base64", content=base64.encodebytes(raw).decode()).status_code == 201
    assert (root / "sub/raw").read_bytes() == raw
    assert save(client, "note.ipynb", type="notebook", format="json", content=NOTEBOOK).status_code == 200
    assert json.loads((root / "note.ipynb").read_text()) == NOTEBOOK, "large numbers too"
    assert save(client, "folder", type="directory").status_code == 201
    assert save(client, "folder", type="directory").status_code == 200
    assert not [name for name in os.listdir(root) if name.endswith(".tmp")]


def test_saving_keeps_mode_and_replaces_as_a_whole(client, root):
    os.chmod(root / "text.txt", 0o640)
    with open(root / "text.txt") as before:
        assert save(client, "text.txt", type="file", format="text", content="new").status_code == 200
        assert before.read() == "grün\n"
    assert stat.S_IMODE((root / "text.txt").stat().st_mode) == 0o640
    assert (root / "text.txt").read_text() == "new"


def test_save_in_parts(client, root):
    for chunk, text in ((1, "one "), (2, "two "), (-1, "three")):
        answer = save(client, "parts", type="file", format="base64", chunk=chunk,
                      content=base64.b64encode(text.encode()).decode())
        assert answer.status_code == (201 if chunk == 1 else 200)
    assert (root / "parts").read_text() == "one two three"
    is_error(save(client, "absent", type="file", format="text", chunk=2, content="x"), 404)


@pytest.mark.parametrize("path, body, status", [
    ("x", {}, 400), ("x", {"type": "file"}, 400), ("x", {"type": "odd", "content": ""}, 400),
    ("x", {"type": "file", "format": "base64", "content": "*"}, 400), ("x", {"type": "file", "content": 1}, 400),
    ("x", {"type": "file", "format": "odd", "content": ""}, 400),
    ("x.ipynb", {"type": "notebook", "content": "text"}, 400), ("x.ipynb", {"type": "notebook"}, 400),
    ("none/x", {"type": "file", "format": "text", "content": ""}, 404),
    (".x", {"type": "file", "format": "text", "content": ""}, 404),
    ("sub", {"type": "file", "format": "text", "content": ""}, 400),
    ("fifo", {"type": "file", "format": "text", "content": ""}, 400),
    ("passwd", {"type": "file", "format": "text", "content": ""}, 400),
    ("out/x", {"type": "file", "format": "text", "content": ""}, 404),
    ("text.txt", {"type": "directory"}, 400), ("", {"type": "directory"}, 400),
])
def test_what_cannot_be_saved(client, root, path, body, status):
    before = sorted(os.listdir(root))
    is_error(save(client, path, **body), status)
    assert sorted(os.listdir(root)) == before


@pytest.mark.parametrize("method, body", [
    *((method, body) for method in ("PUT", "POST", "PATCH") for body in (b"{", b"[]", b"1", b"\xff")),
    ("PUT", b'{"type":"file","format":"text","content":"\\ud800"}'), ("PATCH", b'{"path":"\\ud800"}'),
    ("POST", b'{"copy_from":"\\ud800"}'), ("PATCH", b'{"path":"a\\u0000b"}'),
])
def test_bad_bodies(client, method, body):
    path = "" if method == "POST" else "text.txt"
    is_error(client.request(method, f"/api/contents/{path}", content=body), 400)


def test_a_body_beyond_the_limit(client):
    is_error(client.put("/api/contents/x", content=b'"' + b"x" * (25 << 20) + b'"'), 413)


# ---- new, rename, delete --------------------------------------------------------------------------


def new(client, folder="", **body):
    response = client.post(f"/api/contents/{folder}", json=body)
    assert response.status_code == 201, response.text
    assert response.headers["Location"].startswith("/api/contents/")
    return response.json()


def test_untitled_documents(client, root):
    assert [new(client, type="notebook")["path"] for _ in range(3)] == \
        ["Untitled.ipynb", "Untitled1.ipynb", "Untitled2.ipynb"]
    assert get(client, "Untitled.ipynb")["content"] == {"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
    assert [new(client, "sub", type="file", ext=".py")["path"] for _ in range(2)] == ["sub/untitled.py", "sub/untitled1.py"]
    assert [new(client, type="directory")["path"] for _ in range(2)] == ["Untitled Folder", "Untitled Folder 1"]
    assert client.post("/api/contents").json()["path"] == "untitled"
    assert new(client, ext=".ipynb")["type"] == "notebook"
    for body in ({"type": "odd"}, {"type": "file", "ext": "/../x"}, {"type": 1}):
        is_error(client.post("/api/contents/", json=body), 400)
    is_error(client.post("/api/contents/text.txt", json={}), 400)
    is_error(client.post("/api/contents/none", json={}), 404)


def test_copies(client, root):
    assert new(client, "sub", copy_from="text.txt")["path"] == "sub/text-Copy1.txt"
    assert (root / "sub/text-Copy1.txt").read_text() == "grün\n"
    assert new(client, copy_from="/note.ipynb")["type"] == "notebook"
    for source in ("none", ".hidden", "passwd", "../../etc/passwd"):
        is_error(client.post("/api/contents/", json={"copy_from": source}), 400, 404)
    is_error(client.post("/api/contents/", json={"copy_from": "fifo"}), 400)


def test_rename(client, root):
    moved = client.patch("/api/contents/text.txt", json={"path": "sub/moved.txt"})
    assert moved.status_code == 200 and moved.json()["path"] == "sub/moved.txt"
    assert (root / "sub/moved.txt").read_text() == "grün\n" and not (root / "text.txt").exists()
    is_error(client.patch("/api/contents/note.ipynb", json={"path": "bytes.bin"}), 409)
    is_error(client.patch("/api/contents/none", json={"path": "x"}), 404)
    is_error(client.patch("/api/contents/bytes.bin", json={"path": "none/x"}), 404)
    is_error(client.patch("/api/contents/bytes.bin", json={}), 400)
    is_error(client.patch("/api/contents/", json={"path": "x"}), 400)
    assert client.patch("/api/contents/bytes.bin", json={"path": "bytes.bin"}).status_code == 200
    assert (root / "bytes.bin").exists() and (root / "note.ipynb").exists()


def test_delete(client, root):
    assert client.delete("/api/contents/text.txt").status_code == 204
    assert not (root / "text.txt").exists()
    is_error(client.delete("/api/contents/text.txt"), 404)
    assert "not empty" in is_error(client.delete("/api/contents/sub"), 400)["message"]
    (root / "sub/inner.py").unlink()
    assert client.delete("/api/contents/sub").status_code == 204
    assert client.delete("/api/contents/passwd").status_code == 204 and os.path.exists("/etc/passwd"), "the link"
    is_error(client.delete("/api/contents/"), 400)
    is_error(client.delete("/api/contents/.hidden"), 404)
    assert (root / ".hidden").exists()


# ---- checkpoints ----------------------------------------------------------------------------------


def test_checkpoints(client, root):
    address = "/api/contents/sub/inner.py/checkpoints"
    assert client.get(address).json() == []
    is_error(client.post(address + "/checkpoint"), 404)
    kept = client.post(address)
    assert kept.status_code == 201 and kept.json()["id"] == "checkpoint" and kept.json()["last_modified"].endswith("Z")
    assert client.get(address).json() == [kept.json()]
    assert (root / "sub/.ipynb_checkpoints/inner-checkpoint.py").read_text() == "pass\n"
    save(client, "sub/inner.py", type="file", format="text", content="changed")
    assert client.post(address + "/checkpoint").status_code == 204
    assert (root / "sub/inner.py").read_text() == "pass\n"
    assert [e["name"] for e in get(client, "sub")["content"]] == ["inner.py"]
    assert client.delete(address + "/checkpoint").status_code == 204
    assert client.get(address).json() == []
    is_error(client.delete(address + "/checkpoint"), 404)
    is_error(client.get("/api/contents/none/checkpoints"), 404)
    is_error(client.post("/api/contents/none/checkpoints"), 404)


def test_a_planted_checkpoint_folder_leads_nowhere(client, root, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (root / "sub/.ipynb_checkpoints").symlink_to(elsewhere)
    is_error(client.post("/api/contents/sub/inner.py/checkpoints"), 400)
    assert os.listdir(elsewhere) == []


def test_leaving_clients_leave_nothing(agent, root):
    (root / "big.bin").write_bytes(b"x" * (8 << 20))
    for _ in range(20):
        with agent.connect() as connection:
            connection.sendall(f"GET /api/contents/big.bin?token={agent.token} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    rss = lambda: int(next(l for l in open(f"/proc/{agent.pid}/status") if l.startswith("VmRSS")).split()[1])
    eventually(lambda: rss() < 60 * 1024, message="memory of clients that left is kept")
    assert get(agent.client, "text.txt")["content"] == "grün\n"
