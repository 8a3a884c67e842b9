"""ms-enclave's DockerNotebookSandbox and DockerSandbox, unmodified, over a real Docker daemon, in our image."""

import asyncio
import time

import pytest

pytest.importorskip("ms_enclave", reason="ms-enclave is not installed (make setup)")

import requests  # noqa: E402
from ms_enclave.sandbox.boxes import SandboxFactory  # noqa: E402
from ms_enclave.sandbox.model import DockerNotebookConfig, DockerSandboxConfig, ExecutionStatus, SandboxType  # noqa: E402

from harness import docker as daemon  # noqa: E402

NAME = "jupyter-kernel-gateway"  # what their configuration names by default
TOOLS = ["notebook_executor", "python_executor", "shell_executor", "file_operation", "multi_code_executor"]
LIMITS = {"memory_limit": "1g", "cpu_limit": 1.0}
SIGKILL_S = 10  # what they grant a first process that does not heed SIGTERM
OK, ERROR, TIMEOUT = ExecutionStatus.SUCCESS, ExecutionStatus.ERROR, ExecutionStatus.TIMEOUT


@pytest.fixture(scope="module")
def docker():
    reason = daemon.why_no_image()
    if reason:
        pytest.skip(reason)
    with daemon.image(NAME) as running:
        yield running


def in_sandbox(docker, work, kind=SandboxType.DOCKER_NOTEBOOK, config=None):
    """Runs work(sandbox) in a started one; (its result, seconds that stopping took)."""
    config = config or DockerNotebookConfig(tools_config=TOOLS, **LIMITS)

    async def main():
        sandbox = SandboxFactory.create_sandbox(kind, config)
        try:
            await sandbox.start()
            result = await work(sandbox)
        finally:
            leaving = time.monotonic()
            await sandbox.stop()
        return result, time.monotonic() - leaving

    return docker.inside(lambda: asyncio.run(main()))


async def cell(sandbox, code, **more):
    result = await sandbox.execute_tool("notebook_executor", {"code": code, **more})
    return result.status, result.output, result.error


def test_notebook(docker):
    async def work(sandbox):
        assert await cell(sandbox, "x = 6; print('o')") == (OK, "o\n", None)
        assert await cell(sandbox, "x * 7") == (OK, "\nResult: 42", None)
        assert await cell(sandbox, "import os; os.getcwd()") == (OK, "\nResult: '/sandbox'", None)
        status, output, error = await cell(sandbox, "print('before'); 1/0")
        assert (status, output) == (ERROR, "") and error.startswith("before\n") and "ZeroDivisionError" in error
        status, output, error = await cell(sandbox, "import time\nwhile True: time.sleep(0.01)", timeout=1)
        assert (status, output) == (TIMEOUT, "") and "timed out after 1 seconds" in error
        assert await cell(sandbox, "x") == (OK, "\nResult: 6", None)
        status, _, error = await cell(sandbox, "os._exit(3)", timeout=20)
        assert status == ERROR and "timed out" not in error

    _, stop_s = in_sandbox(docker, work)
    assert stop_s < SIGKILL_S
    assert docker.containers() == []


def test_all_their_tools(docker):
    async def work(sandbox):
        async def tool(name, **parameters):
            result = await sandbox.execute_tool(name, parameters)
            return result.status, result.output

        assert await tool("python_executor", code="print(1 + 1)") == (OK, "2\n")
        assert await tool("shell_executor", command="echo $((6 * 7)); pwd") == (OK, "42\n/sandbox\n")
        assert (await tool("shell_executor", command="sleep 100", timeout=1))[0] == TIMEOUT
        assert (await tool("file_operation", operation="write", file_path="/sandbox/a/b", content="text"))[0] == OK
        assert await tool("file_operation", operation="read", file_path="/sandbox/a/b") == (OK, "text")
        assert await tool("multi_code_executor", language="bash", code="echo hi") == (OK, "hi\n")
        assert (await cell(sandbox, "open('/sandbox/a/b').read()"))[1] == "\nResult: 'text'"

    in_sandbox(docker, work)


def test_with_a_command_of_its_own(docker):
    """Arguments are a program to run and to supervise; a container without a notebook runs the same image."""
    async def work(sandbox):
        listed = (await sandbox.execute_tool("shell_executor", {"command": "cat /proc/[0-9]*/cmdline | tr '\\0' ' '"})).output
        assert "sleep 4730" in listed and "execd" in listed

    config = DockerSandboxConfig(image=NAME, command=["sleep", "4730"], tools_config=["shell_executor"], **LIMITS)
    _, stop_s = in_sandbox(docker, work, SandboxType.DOCKER, config)
    assert stop_s < SIGKILL_S


def test_only_the_gateway_is_open(docker):
    """Without a token nothing is served on the published port but what their client asks for."""
    async def work(sandbox):
        base = f"http://127.0.0.1:{sandbox.config.port}"
        assert requests.get(f"{base}/api", timeout=5).status_code == 200
        for method, path in (("POST", "/command"), ("GET", "/files/info"), ("POST", "/run_code"), ("GET", "/metrics")):
            assert requests.request(method, base + path, json={}, timeout=5).status_code == 403

    in_sandbox(docker, work)
