"""The rest of the Python SDK's methods, each in both of its flavours, synchronous and asynchronous.

What test_python_sync.py and test_python_async.py do not touch: sessions, logs, windows of files, changes to the tree.
"""

import asyncio
import inspect
from datetime import timedelta

import pytest
from opensandbox import Sandbox
from opensandbox.config import ConnectionConfig
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.execd import RunCommandOpts
from opensandbox.models.filesystem import (
    ContentReplaceEntry,
    DirectoryListEntry,
    MoveEntry,
    SearchEntry,
    SetPermissionEntry,
    WriteEntry,
)

from conftest import connection
from harness.contract import Contract
from harness.execd import eventually

PATHS = Contract("execd").doc["paths"]


def needs(path):
    """A method whose route this execd does not serve."""
    return pytest.mark.skipif(path not in PATHS, reason=f"execd has no route {path}")


class Awaited:
    """An asynchronous object used synchronously: each method is run to its end on one loop."""

    def __init__(self, target, loop):
        self._target, self._loop = target, loop

    def __getattr__(self, name):
        return wrapped(getattr(self._target, name), self._loop)


def wrapped(value, loop):
    if inspect.isasyncgen(value):
        return iter_sync(value, loop)
    if callable(value):
        def call(*words, **named):
            result = value(*words, **named)
            return wrapped(loop.run_until_complete(result) if inspect.isawaitable(result) else result, loop)
        return call
    return Awaited(value, loop) if type(value).__module__.startswith("opensandbox.adapters") else value


def iter_sync(generator, loop):
    while True:
        try:
            yield loop.run_until_complete(anext(generator))
        except StopAsyncIteration:
            return


@pytest.fixture(scope="module", params=["sync", "async"])
def box(request, server, sandbox):
    if request.param == "sync":
        yield sandbox
        return
    loop = asyncio.new_event_loop()
    other = loop.run_until_complete(Sandbox.connect(sandbox.id, connection_config=connection(server, ConnectionConfig)))
    yield Awaited(other, loop)
    loop.run_until_complete(other.close())
    loop.close()


@pytest.fixture
def folder(box, request):
    path = f"/tmp/{request.node.name.replace('[', '-').replace(']', '')}"
    yield path
    box.commands.run(["rm", "-rf", path])


def wait_ended(box, ident):
    return eventually(lambda: not (status := box.commands.get_command_status(ident)).running and status)


# ---- commands


@needs("/command/{id}/logs")
def test_logs(box):
    execution = box.commands.run("echo one; echo two >&2; exit 3", opts=RunCommandOpts(background=True))
    assert wait_ended(box, execution.id).exit_code == 3
    logs = box.commands.get_background_command_logs(execution.id)
    assert sorted(logs.content.splitlines()) == ["one", "two"] and logs.cursor == len(logs.content)
    assert box.commands.get_background_command_logs(execution.id, cursor=4).content == logs.content[4:]
    rest = box.commands.get_background_command_logs(execution.id, cursor=logs.cursor)
    assert (rest.content, rest.cursor) == ("", logs.cursor)
    with pytest.raises(SandboxApiException) as caught:
        box.commands.get_background_command_logs("nothing")
    assert caught.value.status_code == 404


@needs("/session")
def test_sessions_keep_their_state(box):
    ident = box.commands.create_session(working_directory="/tmp")
    run = box.commands.run_in_session
    assert run(ident, "pwd").text == "/tmp"
    assert run(ident, "x='a  b'; f() { echo \"f: $x\"; }; cd /usr").exit_code == 0
    assert run(ident, "f; pwd").text == "f: a  b\n/usr"
    assert run(ident, "(exit 7)").exit_code == 7
    assert run(ident, "pwd", working_directory="/").text == "/"
    assert run(ident, "sleep 60", timeout=timedelta(seconds=1)).exit_code != 0
    box.commands.delete_session(ident)
    with pytest.raises(SandboxApiException) as caught:
        run(ident, "true")
    assert caught.value.status_code == 404


# ---- files


def test_windows_of_a_file(box, folder):
    text = "".join(f"line {i}\n" for i in range(100))
    data = bytes(range(256)) * 2000
    box.files.write_files([WriteEntry(path=f"{folder}/text", data=text), WriteEntry(path=f"{folder}/data", data=data)])
    assert box.files.read_bytes(f"{folder}/data", range_header="bytes=-5") == data[-5:]
    assert b"".join(box.files.read_bytes_stream(f"{folder}/data", chunk_size=10000)) == data
    assert b"".join(box.files.read_bytes_stream(f"{folder}/data", range_header="bytes=7-8")) == data[7:9]


@needs("/files/search")
def test_search(box, folder):
    for name in ("a.txt", "deep/b.txt", "deep/c.md"):
        box.files.write_file(f"{folder}/{name}", "x")
    found = box.files.search(SearchEntry(path=folder, pattern="*.txt"))
    assert sorted(entry.path for entry in found) == [f"{folder}/a.txt", f"{folder}/deep/b.txt"]
    with pytest.raises(SandboxApiException) as caught:
        box.files.search(SearchEntry(path=f"{folder}/none", pattern="*"))
    assert caught.value.status_code == 404


@needs("/files/mv")
def test_move(box, folder):
    box.files.write_file(f"{folder}/from", "moved")
    box.files.move_files([MoveEntry(source=f"{folder}/from", destination=f"{folder}/to")])
    assert box.files.read_file(f"{folder}/to") == "moved"
    with pytest.raises(SandboxApiException) as caught:
        box.files.move_files([MoveEntry(source=f"{folder}/from", destination=f"{folder}/again")])
    assert caught.value.status_code == 404


@needs("/files")
def test_delete(box, folder):
    box.files.write_file(f"{folder}/gone", "x")
    box.files.delete_files([f"{folder}/gone"])
    with pytest.raises(SandboxApiException) as caught:
        box.files.get_file_info([f"{folder}/gone"])
    assert caught.value.status_code == 404


@needs("/files/permissions")
def test_permissions(box, folder):
    box.files.write_file(f"{folder}/file", "x", mode=644)
    box.files.set_permissions([SetPermissionEntry(path=f"{folder}/file", mode=600, owner="nobody", group="root")])
    info = box.files.get_file_info([f"{folder}/file"])[f"{folder}/file"]
    assert (info.mode, info.owner, info.group) == (600, "nobody", "root")


@needs("/v1/filesystem/{uid}/{gid}/{rest}")
def test_files_with_identity(box, folder):
    box.files.create_directories([WriteEntry(path=f"{folder}/theirs", owner="nobody")])
    theirs = box.files_with_identity(65534, 65534)
    theirs.write_file(f"{folder}/theirs/file", "by nobody")
    assert box.files.get_file_info([f"{folder}/theirs/file"])[f"{folder}/theirs/file"].owner == "nobody"
    assert theirs.read_file(f"{folder}/theirs/file") == "by nobody"
    theirs.move_files([MoveEntry(source=f"{folder}/theirs/file", destination=f"{folder}/theirs/moved")])
    theirs.delete_files([f"{folder}/theirs/moved"])
    with pytest.raises(SandboxApiException):
        theirs.read_file("/etc/shadow")


@needs("/files/replace")
def test_replace(box, folder):
    box.files.write_file(f"{folder}/file", "old and old")
    change = ContentReplaceEntry(path=f"{folder}/file", old_content="old", new_content="new")
    assert box.files.replace_contents_detailed([change])[0].replaced_count == 2
    assert box.files.read_file(f"{folder}/file") == "new and new"
    assert box.files.replace_contents_detailed([change])[0].replaced_count == 0
    box.files.replace_contents([ContentReplaceEntry(path=f"{folder}/file", old_content="and", new_content="&")])
    assert box.files.read_file(f"{folder}/file") == "new & new"


@needs("/directories")
def test_directories(box, folder):
    box.files.create_directories([WriteEntry(path=f"{folder}/a/b", mode=750)])
    assert box.files.get_file_info([f"{folder}/a/b"])[f"{folder}/a/b"].mode == 750
    box.files.delete_directories([f"{folder}/a"])
    with pytest.raises(SandboxApiException):
        box.files.get_file_info([f"{folder}/a"])


@needs("/directories/list")
def test_list_directory(box, folder):
    box.files.write_file(f"{folder}/file", "x")
    box.files.write_file(f"{folder}/deep/er", "y")
    listed = box.files.list_directory(DirectoryListEntry(path=folder, depth=1))
    assert sorted(entry.path for entry in listed) == [f"{folder}/deep", f"{folder}/file"]
