"""The published MCP server over standard input and output, against a real sandbox: its command and file tools.

Spoken to in plain JSON-RPC, one message a line, so that nothing of this test is the client library's.
"""

import json
import os
import subprocess
import threading

import pytest

from harness.contract import Contract
from harness.execd import BUILD
from harness.server import KEY

PATHS = Contract("execd").doc["paths"]


def needs(path):
    """A tool whose route this execd does not serve."""
    return pytest.mark.skipif(path not in PATHS, reason=f"execd has no route {path}")


class Mcp:
    LIMIT_S = 60

    def __init__(self, server, folder):
        env = {"PATH": os.environ["PATH"], "HOME": str(folder), "OPENSANDBOX_DISABLE_METRICS": "1"}
        self.process = subprocess.Popen([BUILD / "venv/bin/opensandbox-mcp", "--transport", "stdio", "--api-key", KEY,
                                         "--domain", f"127.0.0.1:{server.port}"],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=env)
        self.last = 0
        self.ask("initialize", protocolVersion="2025-03-26", capabilities={}, clientInfo={"name": "test", "version": "1"})
        self.send({"method": "notifications/initialized"})

    def send(self, message):
        self.process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, method, **params):
        self.last += 1
        self.send({"id": self.last, "method": method, "params": params})
        deadline = threading.Timer(self.LIMIT_S, self.process.kill)
        deadline.start()
        try:
            for line in self.process.stdout:
                answer = json.loads(line)
                if answer.get("id") == self.last:
                    assert "error" not in answer, answer
                    return answer["result"]
        finally:
            deadline.cancel()
        raise AssertionError(f"no answer to {method}")

    def call(self, tool, fails=False, **arguments):
        result = self.ask("tools/call", name=tool, arguments=arguments)
        text = "".join(part.get("text", "") for part in result["content"])
        assert bool(result.get("isError")) == fails, text
        return text if fails else result.get("structuredContent") or json.loads(text)

    def stop(self):
        self.process.stdin.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()


@pytest.fixture(scope="module")
def mcp(server, sandbox, tmp_path_factory):
    running = Mcp(server, tmp_path_factory.mktemp("mcp"))
    running.call("sandbox_connect", sandbox_id=sandbox.id)

    def call(tool, **arguments):
        return running.call(tool, sandbox_id=sandbox.id, **arguments)

    yield call
    running.stop()


def test_health_and_metrics(mcp):
    assert mcp("sandbox_healthcheck")["healthy"] is True
    assert mcp("sandbox_get_metrics")["memory_total_in_mib"] == 512


def test_command_run(mcp):
    execution = mcp("command_run", command="pwd; echo bad >&2; exit 3", working_directory="/tmp")
    assert [line["text"].rstrip("\n") for line in execution["logs"]["stdout"]] == ["/tmp"]
    assert [line["text"].rstrip("\n") for line in execution["logs"]["stderr"]] == ["bad"]
    assert execution["exit_code"] == 3 and execution["error"]["value"] == "3"


def test_command_in_the_background_is_interrupted(mcp):
    execution = mcp("command_run", command="exec sleep 100", background=True)
    assert execution["exit_code"] is None
    assert mcp("command_interrupt", execution_id=execution["id"])["status"] == "interrupted"
    assert mcp("command_run", command="echo next")["exit_code"] == 0


def test_file_write_and_read(mcp):
    assert mcp("file_write", path="/tmp/mcp/text.txt", content="héllo\n", mode=640)["status"] == "written"
    assert mcp("file_read", path="/tmp/mcp/text.txt")["content"] == "héllo\n"
    assert mcp("file_read", path="/tmp/mcp/text.txt", range_header="bytes=0-0")["content"] == "h"
    assert "file_read" in mcp("file_read", path="/tmp/mcp/none", fails=True)


@needs("/files/search")
def test_file_search(mcp):
    mcp("file_write", path="/tmp/mcp-search/a.txt", content="x")
    found = mcp("file_search", path="/tmp/mcp-search", pattern="*.txt")
    assert "/tmp/mcp-search/a.txt" in json.dumps(found)


@needs("/files/mv")
def test_file_move_and_delete(mcp):
    mcp("file_write", path="/tmp/mcp-mv/a", content="moved")
    assert mcp("file_move", entries=[{"source": "/tmp/mcp-mv/a", "destination": "/tmp/mcp-mv/b"}])["status"] == "moved"
    assert mcp("file_read", path="/tmp/mcp-mv/b")["content"] == "moved"
    assert mcp("file_delete", paths=["/tmp/mcp-mv/b"])["status"] == "deleted"
    mcp("file_read", path="/tmp/mcp-mv/b", fails=True)


@needs("/files/replace")
def test_file_replace(mcp):
    mcp("file_write", path="/tmp/mcp-replace", content="old and old")
    mcp("file_replace_contents", entries=[{"path": "/tmp/mcp-replace", "old_content": "old", "new_content": "new"}])
    assert mcp("file_read", path="/tmp/mcp-replace")["content"] == "new and new"


@needs("/directories")
def test_directories(mcp):
    assert mcp("file_create_directories", entries=[{"path": "/tmp/mcp-dir/deep", "mode": 750}])["status"] == "created"
    assert mcp("command_run", command="stat -c %a /tmp/mcp-dir/deep")["logs"]["stdout"][0]["text"].strip() == "750"
    assert mcp("file_delete_directories", paths=["/tmp/mcp-dir"])["status"] == "deleted"
