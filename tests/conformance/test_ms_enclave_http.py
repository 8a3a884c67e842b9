"""ms-enclave's HttpSandboxManager and its tools, unmodified, against execd-server; VolcengineSandbox against execd."""

import asyncio
import io
import tarfile

import pytest

pytest.importorskip("ms_enclave", reason="ms-enclave is not installed (make setup)")

from ms_enclave.sandbox.boxes import SandboxFactory  # noqa: E402
from ms_enclave.sandbox.manager import HttpSandboxManager  # noqa: E402
from ms_enclave.sandbox.model import (  # noqa: E402
    DockerNotebookConfig, DockerSandboxConfig, ExecutionStatus, SandboxManagerConfig, SandboxStatus, SandboxType,
    VolcengineSandboxConfig)

from harness import web  # noqa: E402
from harness.execd import TOKEN, Execd  # noqa: E402
from harness.server import KEY  # noqa: E402

TOOLS = ["python_executor", "shell_executor", "file_operation", "multi_code_executor"]
SMALL = {"memory_limit": "512m", "cpu_limit": 1.0, "tools_config": TOOLS}
OK, ERROR, TIMEOUT = ExecutionStatus.SUCCESS, ExecutionStatus.ERROR, ExecutionStatus.TIMEOUT


def enclave_base(server):
    """Of the listener where shared paths are theirs."""
    return f"http://127.0.0.1:{server.wait_log('listening for ms-enclave')['port']}"


def manage(server, work, key=KEY, **options):
    """Runs work(manager) with a manager of its own."""
    async def main():
        manager = HttpSandboxManager(SandboxManagerConfig(base_url=enclave_base(server), api_key=key, timeout=60, **options))
        await manager.start()
        try:
            return await work(manager)
        finally:
            await manager.stop()

    return asyncio.run(asyncio.wait_for(main(), 90))


@pytest.fixture(scope="module")
def box(server):
    """One sandbox for the tests of single tools: tool(name, **parameters) → (status, output, error)."""
    async def create(manager):
        ident = await manager.create_sandbox(SandboxType.DOCKER, DockerSandboxConfig(env_vars={"GREETING": "hello"}, **SMALL))
        manager._sandboxes.clear()  # it stays
        return ident

    ident = manage(server, create)

    def tool(name, **parameters):
        result = manage(server, lambda manager: manager.execute_tool(ident, name, parameters))
        assert result.tool_name == name
        return result.status, result.output, result.error

    tool.id = ident
    return tool


def test_python(box):
    assert box("python_executor", code="import os; print(os.getcwd(), os.environ['GREETING'])") == (OK, "/sandbox hello\n", None)
    status, output, error = box("python_executor", code="print('before'); 1/0")
    assert (status, output) == (ERROR, "before\n") and "ZeroDivisionError" in error
    assert box("python_executor", code=" ")[::2] == (ERROR, "No code provided")


def test_output_of_any_bytes(box):
    status, output, _ = box("python_executor", code="import sys; sys.stdout.buffer.write(b'a\\0b\\xff')")
    assert (status, output) == (OK, "a\0b\ufffd")


def test_python_timeout(box):
    status, output, _ = box("python_executor", code="print('begun', flush=True)\nwhile True: pass", timeout=3)
    assert (status, output) == (TIMEOUT, "begun\n")


def test_shell(box):
    assert box("shell_executor", command="echo $GREETING '| it'\"'s\"; pwd") == (OK, "hello | it's\n/sandbox\n", None)
    assert box("shell_executor", command=["printf", "%s|", "a b", "$HOME", "it's"]) == (OK, "a b|$HOME|it's|", None)
    assert box("shell_executor", command="exit 3") == (ERROR, "", "Command failed with exit code 3")
    assert box("shell_executor", command="echo no >&2; exit 1") == (ERROR, "", "no\n")
    assert box("shell_executor", command=" ")[::2] == (ERROR, "No command provided")
    assert box("shell_executor", command="sleep 100", timeout=1)[0] == TIMEOUT


def test_what_the_shell_starts_goes_on(box):
    assert box("shell_executor", command="sleep 4720 >/dev/null 2>&1 & echo started")[1] == "started\n"
    assert "4720" in box("shell_executor", command="cat /proc/[0-9]*/cmdline | tr '\\0' ' '")[1]


def test_files(box):
    path = "/sandbox/a b/it's $HOME.txt"
    assert box("file_operation", operation="exists", file_path=path) == (OK, "does not exist", None)
    assert box("file_operation", operation="write", file_path=path, content="text ä\n") == \
        (OK, f"File written successfully: {path}", None)
    assert box("file_operation", operation="read", file_path=path) == (OK, "text ä\n", None)
    assert box("file_operation", operation="exists", file_path=path) == (OK, "exists", None)
    assert "it's $HOME.txt" in box("file_operation", operation="list", file_path="a b")[1]
    assert box("file_operation", operation="delete", file_path="a b") == (OK, "Successfully deleted: a b", None)
    status, output, error = box("file_operation", operation="read", file_path=path)
    assert (status, output) == (ERROR, "") and "No such file" in error
    assert box("file_operation", operation="create", file_path="empty")[0] == OK
    assert box("file_operation", operation="read", file_path="empty")[1] == ""
    assert box("file_operation", operation="write", file_path="x")[::2] == (ERROR, "Content is required for write operation")


def test_programs(box):
    code = "import helper; print(helper.x)"
    assert box("multi_code_executor", language="python", code=code, files={"helper.py": "x = 42"}) == (OK, "42\n", None)
    assert box("multi_code_executor", language="bash", code="exit 4")[0] == ERROR
    status, _, error = box("multi_code_executor", language="swift", code="print(1)")
    assert status == ERROR and "no 'swiftc' in its PATH" in error


def test_bad_parameters_and_unknown_names(server, box):
    with pytest.raises(ValueError, match="not available"):
        box("no_such_tool")
    with pytest.raises(ValueError, match="not available"):
        box("notebook_executor", code="1")
    with pytest.raises(RuntimeError, match="parameters.code"):
        box("python_executor", code=1)
    with pytest.raises(RuntimeError, match="parameters.timeout"):
        box("python_executor", code="1", timeout=10**6)
    with pytest.raises(ValueError, match="not found"):
        manage(server, lambda manager: manager.execute_tool("nobody", "python_executor", {"code": "1"}))


def test_archives(server, box, tmp_path):
    (tmp_path / "tree/inner").mkdir(parents=True)
    (tmp_path / "tree/inner/file.txt").write_text("packed")

    async def put(manager):
        assert await manager.put_dir(box.id, tmp_path / "tree", "/sandbox/un packed&x=1") is True
        for wrong in (b"", b"this is no archive at all" * 100):
            with pytest.raises(ValueError):
                await manager.put_archive(box.id, "/sandbox/x", wrong)
        with pytest.raises(ValueError):
            await manager.put_archive("nobody", "/sandbox/x", b"x")

    manage(server, put)
    assert box("file_operation", operation="read", file_path="/sandbox/un packed&x=1/inner/file.txt")[1] == "packed"


def test_life(server):
    async def live(manager):
        ident = await manager.create_sandbox(SandboxType.DOCKER, {"tools_config": {"shell_executor": {}}, **{"memory_limit": "512m"}})
        info = await manager.get_sandbox_info(ident)
        assert (info.status, info.type, list(info.available_tools)) == (SandboxStatus.RUNNING, "docker", ["shell_executor"])
        assert info.config["memory_limit"] == "512m" and info.created_at <= info.updated_at
        tools = await manager.get_sandbox_tools(ident)
        assert tools["shell_executor"]["function"]["parameters"]["required"] == ["command"]
        assert ident in [each.id for each in await manager.list_sandboxes(SandboxStatus.RUNNING)]
        health = await manager.health_check()
        assert health["healthy"] is True and health["active_sandboxes"] >= 1 and health["uptime"] > 0
        assert await manager.stop_sandbox(ident) is True
        assert (await manager.get_sandbox_info(ident)).status == SandboxStatus.STOPPED
        assert [each.id for each in await manager.list_sandboxes(SandboxStatus.STOPPED)] == [ident]
        assert list(await manager.get_sandbox_tools(ident)) == ["shell_executor"]  # it is still known
        with pytest.raises(ValueError):
            await manager.execute_tool(ident, "shell_executor", {"command": "true"})
        assert await manager.delete_sandbox(ident) is True
        assert await manager.get_sandbox_info(ident) is None
        assert await manager.delete_sandbox(ident) is False and await manager.stop_sandbox(ident) is False
        stats = await manager.get_stats()
        assert stats["manager_type"] == "http" and stats["running"] is True

    manage(server, live)


def test_both_apis_side_by_side(server, box):
    assert box.id in [item["id"] for item in server.client.get("/v1/sandboxes").json()["items"]]
    ours = server.create()["id"]
    listed = manage(server, lambda manager: manager.list_sandboxes())
    assert ours not in [each.id for each in listed]
    assert manage(server, lambda manager: manager.get_sandbox_info(ours)) is None
    assert manage(server, lambda manager: manager.delete_sandbox(ours)) is False
    assert server.client.get("/sandboxes").json()["items"]
    assert isinstance(server.client.get("/sandboxes", headers={"X-API-Key": KEY}).json(), list)
    assert server.client.get("/health").json()["status"] == "healthy"
    server.client.delete(f"/v1/sandboxes/{ours}")


@pytest.mark.parametrize("config, text", [
    ({"image": "no-such-image"}, "no-such-image"),
    ({"privileged": True}, "privileged"),
    ({"volumes": {"/": {"bind": "/host", "mode": "rw"}}}, "volumes"),
    ({"ports": {"80/tcp": 8080}}, "ports"),
    ({"memory_limit": "much"}, "memory_limit"),
    ({"cpu_limit": -1}, "cpu_limit"),
    ({"working_dir": "relative"}, "working_dir"),
    ({"env_vars": {"a=b": "c"}}, "env_vars"),
    ({"command": 7}, "command"),
])
def test_configurations_that_are_refused(server, config, text):
    with pytest.raises(RuntimeError, match=text):
        manage(server, lambda manager: manager.create_sandbox(SandboxType.DOCKER, config))


def test_other_types_are_refused(server):
    with pytest.raises(RuntimeError, match="sandbox_type"):
        manage(server, lambda manager: manager.create_sandbox(SandboxType.DUMMY, {}))


def test_the_key(server):
    with pytest.raises(RuntimeError):
        manage(server, lambda manager: manager.create_sandbox(SandboxType.DOCKER, {}), key="wrong")
    with pytest.raises(RuntimeError):
        manage(server, lambda manager: manager.create_sandbox(SandboxType.DOCKER, {}), key=None)
    for path, query, status in (("/stats", KEY, 200), ("/stats", "wrong", 401), ("/v1/sandboxes", KEY, 401)):
        answer = web.get(enclave_base(server) + path, params={"api_key": query})
        assert answer.status_code == status
        assert status == 200 or path != "/stats" or answer.json()["detail"]


def test_pool(server):
    async def use(manager):
        with pytest.raises(ValueError, match="empty"):
            await manager.execute_tool_in_pool("python_executor", {"code": "1"})
        ids = await manager.initialize_pool(2, SandboxType.DOCKER, DockerSandboxConfig(**SMALL))
        assert len(set(ids)) == 2
        assert {(await manager.get_sandbox_info(each)).status for each in ids} == {SandboxStatus.IDLE}
        results = await asyncio.gather(*(manager.execute_tool_in_pool(
            "shell_executor", {"command": f"sleep 0.3; hostname; echo {i}"}) for i in range(5)))
        assert [result.output.split("\n")[1] for result in results] == list("01234")
        with pytest.raises(RuntimeError):
            await manager.execute_tool_in_pool("no_such_tool", {})
        slow = [asyncio.create_task(manager.execute_tool_in_pool(
            "shell_executor", {"command": "until [ -e /tmp/go ]; do sleep 0.02; done"})) for _ in ids]
        while {(await manager.get_sandbox_info(each)).status for each in ids} != {SandboxStatus.BUSY}:
            await asyncio.sleep(0.02)
        with pytest.raises(TimeoutError):
            await manager.execute_tool_in_pool("python_executor", {"code": "1"}, timeout=1)
        for each in ids:
            await manager.execute_tool(each, "shell_executor", {"command": "touch /tmp/go"})
        await asyncio.gather(*slow)
        for each in ids:
            await manager.delete_sandbox(each)
        with pytest.raises(ValueError):
            await manager.execute_tool_in_pool("python_executor", {"code": "1"})

    manage(server, use)


def test_notebook(server):
    config = DockerNotebookConfig(**{**SMALL, "memory_limit": "1g", "tools_config": ["notebook_executor", *TOOLS]})

    async def cells(manager):
        ident = await manager.create_sandbox(SandboxType.DOCKER_NOTEBOOK, config)

        async def cell(code, **more):
            result = await manager.execute_tool(ident, "notebook_executor", {"code": code, **more})
            return result.status, result.output, result.error

        assert await cell("x = 6; print('o')") == (OK, "o\n", None)
        assert await cell("x * 7") == (OK, "\nResult: 42", None)
        assert await cell("print('a\\0b')") == (OK, "a\0b\n", None)
        status, output, error = await cell("print('p'); 1/0")
        assert (status, output) == (ERROR, "") and "ZeroDivisionError" in error and error.startswith("p\n")
        assert (await cell("x"))[1] == "\nResult: 6"
        assert (await manager.execute_tool(ident, "python_executor", {"code": "print(1)"})).output == "1\n"

    manage(server, cells)


def test_volcengine_against_execd(tmp_path):
    """Their client for SandboxFusion, with the key in Authorization without a scheme."""
    async def use(base):
        config = VolcengineSandboxConfig(base_url=base, api_key=TOKEN, tools_config=TOOLS[:2] + TOOLS[3:])
        async with SandboxFactory.create_sandbox(SandboxType.VOLCENGINE, config) as sandbox:
            result = await sandbox.execute_tool("python_executor", {"code": "print(6 * 7)"})
            assert (result.status, result.output, result.error) == (OK, "42\n", None)
            result = await sandbox.execute_tool("shell_executor", {"command": ["echo", "a b"]})
            assert (result.status, result.output) == (OK, "a b\n")
            result = await sandbox.execute_tool("multi_code_executor", {"language": "cpp", "code": "int main() { return 2; }"})
            assert result.status == ERROR
            result = await sandbox.execute_tool("python_executor", {"code": "1/0"})
            assert result.status == ERROR and "ZeroDivisionError" in result.error

    with Execd(tmp_path) as agent:
        asyncio.run(asyncio.wait_for(use(f"http://127.0.0.1:{agent.port}"), 60))


def test_archive_of_bytes(server, box):
    """As `put_file` of their local sandboxes packs it."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        entry = tarfile.TarInfo("one.bin")
        entry.size = 3
        tar.addfile(entry, io.BytesIO(b"abc"))
    assert manage(server, lambda manager: manager.put_archive(box.id, "/sandbox", packed.getvalue())) is True
    assert box("file_operation", operation="read", file_path="/sandbox/one.bin")[1] == "abc"


def test_stopped_twice_is_listed_once(server):
    async def stop(manager):
        ident = await manager.create_sandbox(SandboxType.DOCKER, DockerSandboxConfig(**SMALL))
        assert all(await asyncio.gather(*(manager.stop_sandbox(ident) for _ in range(4))))
        assert [each.id for each in await manager.list_sandboxes()].count(ident) == 1
        assert await manager.delete_sandbox(ident) is True
        assert ident not in [each.id for each in await manager.list_sandboxes()]

    manage(server, stop)


def test_an_unknown_status_is_refused(server):
    answer = web.get(f"{enclave_base(server)}/sandboxes", params={"status": "asleep"}, headers={"X-API-Key": KEY})
    assert answer.status_code == 422 and "asleep" in answer.json()["detail"]
