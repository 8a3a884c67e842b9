"""The synchronous Python SDK: life cycle, commands, files, metrics, code."""

import json
import threading
import time
from datetime import timedelta

import pytest
from code_interpreter import CodeInterpreterSync
from opensandbox import SandboxSync
from opensandbox.config import ConnectionConfigSync
from opensandbox.exceptions import SandboxApiException, SandboxException
from opensandbox.models.execd import RunCommandOpts
from opensandbox.models.execd_sync import ExecutionHandlersSync
from opensandbox.models.filesystem import WriteEntry
from opensandbox.models.sandboxes import SandboxFilter
from opensandbox.sync.manager import SandboxManagerSync

from conftest import connection
from harness.execd import eventually
from harness.patience import PATIENCE_S
from harness.server import SMALL


def test_info_and_environment(sandbox):
    info = sandbox.get_info()
    assert info.status.state == "Running" and info.metadata["team"] == "conformance"
    assert info.entrypoint == ["tail", "-f", "/dev/null"]
    assert sandbox.is_healthy()
    assert sandbox.commands.run("echo $GREETING $OPENSANDBOX_ID").text == f"hello {sandbox.id}"


def test_run_with_handlers_as_it_happens(sandbox):
    seen = []
    handlers = ExecutionHandlersSync(
        on_init=lambda e: seen.append(("init", e.id)),
        on_stdout=lambda m: seen.append(("stdout", m.text, time.monotonic())),
        on_stderr=lambda m: seen.append(("stderr", m.text, time.monotonic())),
        on_execution_complete=lambda e: seen.append(("complete", e.execution_time_in_millis)),
    )
    execution = sandbox.commands.run("echo one; echo bad >&2; sleep 0.5; echo two", handlers=handlers)
    kinds = [entry[0] for entry in seen]
    assert kinds[0] == "init" and kinds[-1] == "complete" and sorted(kinds[1:-1]) == ["stderr", "stdout", "stdout"]
    out = [entry for entry in seen if entry[0] == "stdout"]
    assert [entry[1] for entry in out] == ["one\n", "two\n"]
    assert out[1][2] - out[0][2] > 0.3, "output came in one piece, not as it was made"
    assert execution.exit_code == 0 and execution.id == seen[0][1] and execution.error is None


@pytest.mark.parametrize("code", [1, 2, 42, 255])
def test_exit_codes(sandbox, code):
    execution = sandbox.commands.run(f"exit {code}")
    assert execution.exit_code == code and execution.complete is None
    assert execution.error.name == "CommandExecError" and execution.error.value == str(code)


def test_argv_cwd_envs(sandbox):
    assert sandbox.commands.run(["printf", "%s", "a b*"]).text == "a b*"
    options = RunCommandOpts(working_directory="/tmp", envs={"X": "y z"})
    assert sandbox.commands.run("pwd; echo $X", opts=options).text == "/tmp\ny z"


def test_blank_lines_and_unicode_survive(sandbox):
    assert sandbox.commands.run("printf 'a\\n\\nb \\xe2\\x82\\xac\\n'").text == "a\n\nb €"


def test_timeout(sandbox):
    started = time.monotonic()
    execution = sandbox.commands.run("sleep 60", opts=RunCommandOpts(timeout=timedelta(seconds=1)))
    assert execution.exit_code == -1 and execution.error is not None
    assert time.monotonic() - started < 60


def test_interrupt_and_status(sandbox):
    ident, done = [], []
    handlers = ExecutionHandlersSync(on_init=lambda e: ident.append(e.id))
    thread = threading.Thread(target=lambda: done.append(sandbox.commands.run("sleep 120", handlers=handlers)))
    thread.start()
    eventually(lambda: ident)
    assert sandbox.commands.get_command_status(ident[0]).running
    sandbox.commands.interrupt(ident[0])
    thread.join(PATIENCE_S)
    assert done[0].exit_code == -1
    status = sandbox.commands.get_command_status(ident[0])
    assert not status.running and status.exit_code == -1 and status.finished_at >= status.started_at


def test_background(sandbox):
    execution = sandbox.commands.run("sleep 0.5; exit 3", opts=RunCommandOpts(background=True))
    assert execution.exit_code is None
    eventually(lambda: not sandbox.commands.get_command_status(execution.id).running)
    assert sandbox.commands.get_command_status(execution.id).exit_code == 3


def test_set_env_reaches_later_commands(sandbox):
    for value in ["plain", "cost $5 ${HOME} tail", "two\nlines", "a=b=c", "it's fine", ""]:
        sandbox.commands.set_env("CONFORMANCE", value)
        assert sandbox.commands.run(["printenv", "CONFORMANCE"]).text == value.rstrip("\n")


def test_bad_directory_is_an_error_with_a_code(sandbox):
    with pytest.raises(SandboxApiException) as caught:
        sandbox.commands.run("true", opts=RunCommandOpts(working_directory="/no/such/folder"))
    assert caught.value.status_code == 400 and "working directory" in str(caught.value)


def test_files_round_trip(sandbox):
    binary = bytes(range(256)) * 4096
    sandbox.files.write_files([WriteEntry(path="/workspace/a/text.txt", data="héllo\nworld\n", mode=640),
                               WriteEntry(path="/workspace/a/data.bin", data=binary)])
    assert sandbox.files.read_file("/workspace/a/text.txt") == "héllo\nworld\n"
    assert sandbox.files.read_bytes("/workspace/a/data.bin") == binary
    assert sandbox.files.read_bytes("/workspace/a/data.bin", range_header="bytes=10-19") == binary[10:20]
    info = sandbox.files.get_file_info(["/workspace/a/text.txt", "/workspace/a"])
    assert info["/workspace/a/text.txt"].mode == 640 and info["/workspace/a/text.txt"].size == 13
    assert info["/workspace/a"].mode == 755
    sandbox.files.write_file("/workspace/a/text.txt", "shorter", mode=600)
    assert sandbox.files.read_file("/workspace/a/text.txt") == "shorter"


def test_missing_file(sandbox):
    with pytest.raises(SandboxApiException) as caught:
        sandbox.files.read_file("/workspace/none")
    assert caught.value.status_code == 404


def test_metrics_are_the_sandbox_s_own(sandbox):
    metrics = sandbox.get_metrics()
    assert metrics.cpu_count == 1
    assert metrics.memory_total_in_mib == 512
    assert 0 < metrics.memory_used_in_mib < 512


def test_list_patch_renew(server, sandbox):
    with SandboxManagerSync.create(connection(server, ConnectionConfigSync)) as manager:
        found = manager.list_sandbox_infos(SandboxFilter(states=["Running"], metadata={"team": "conformance"}))
        assert sandbox.id in [info.id for info in found.sandbox_infos]
        nothing = manager.list_sandbox_infos(SandboxFilter(metadata={"team": "other"}))
        assert nothing.sandbox_infos == [] and nothing.pagination.total_items == 0
    assert sandbox.patch_metadata({"stage": "two", "team": "conformance"}).metadata["stage"] == "two"
    before = sandbox.get_info().expires_at
    sandbox.renew(timedelta(minutes=30))
    assert sandbox.get_info().expires_at > before


def test_unknown_image_is_refused(server):
    with pytest.raises(SandboxApiException) as caught:
        SandboxSync.create("no/such:image", connection_config=connection(server, ConnectionConfigSync))
    assert caught.value.status_code == 404 and "no/such:image" in str(caught.value)


def test_wrong_key(server):
    with pytest.raises(SandboxException):
        SandboxSync.create(SMALL, connection_config=ConnectionConfigSync(
            api_key="wrong", domain=f"127.0.0.1:{server.port}", request_timeout=timedelta(seconds=10)))


def test_connect_and_kill(server):
    made = SandboxSync.create(SMALL, connection_config=connection(server, ConnectionConfigSync),
                              resource={"cpu": "500m", "memory": "256Mi"}, timeout=timedelta(minutes=2))
    again = SandboxSync.connect(made.id, connection_config=connection(server, ConnectionConfigSync))
    assert again.commands.run("echo again").text == "again"
    again.kill()
    with pytest.raises(SandboxApiException) as caught:
        made.get_info()
    assert caught.value.status_code == 404
    made.close()
    again.close()


def test_pause_and_resume(server):
    made = SandboxSync.create(SMALL, connection_config=connection(server, ConnectionConfigSync),
                              resource={"cpu": "1", "memory": "256Mi"})
    try:
        made.pause()
        assert made.get_info().status.state == "Paused"
        with pytest.raises(SandboxApiException) as caught:
            made.pause()
        assert caught.value.status_code == 409
        again = SandboxSync.resume(made.id, connection_config=connection(server, ConnectionConfigSync))
        assert again.get_info().status.state == "Running"
        assert again.commands.run("echo thawed").text == "thawed"
        again.close()
    finally:
        made.kill()
        made.close()


def test_through_the_server_proxy(server):
    """The setting under which the SDK sends its API key to the sandbox's URLs as well."""
    made = SandboxSync.create(SMALL, connection_config=connection(server, ConnectionConfigSync, use_server_proxy=True),
                              resource={"cpu": "1", "memory": "256Mi"})
    try:
        assert made.commands.run("echo proxied").text == "proxied"
        made.files.write_file("/tmp/x", "y" * 100000)
        assert len(made.files.read_file("/tmp/x")) == 100000
    finally:
        made.kill()
        made.close()


@pytest.fixture(scope="module")
def interpreter(sandbox):
    return CodeInterpreterSync.create(sandbox)


def test_code_state_results_errors(interpreter):
    context = interpreter.codes.create_context("python")
    assert interpreter.codes.run("x = 20\nprint('hi')", context=context).logs.stdout[0].text == "hi\n"
    execution = interpreter.codes.run("x * 2 + 2", context=context)
    assert execution.result[0].text == "42" and execution.error is None and execution.execution_count == 2
    failed = interpreter.codes.run("1 / 0", context=context)
    assert failed.error.name == "ZeroDivisionError" and failed.error.traceback and failed.complete is None
    assert interpreter.codes.run("x", context=context).result[0].text == "20"
    assert context.id in [c.id for c in interpreter.codes.list_contexts("python")]
    interpreter.codes.delete_context(context.id)
    with pytest.raises(SandboxApiException):
        interpreter.codes.get_context(context.id)


def test_default_context_keeps_its_state(interpreter):
    interpreter.codes.run("y = 5", language="python")
    assert interpreter.codes.run("y + 1", language="python").result[0].text == "6"


def test_interrupt_code(interpreter):
    context = interpreter.codes.create_context("python")
    ident, done = [], []
    handlers = ExecutionHandlersSync(on_init=lambda e: ident.append(e.id),
                                     on_stdout=lambda m: ident.append("started"))
    thread = threading.Thread(target=lambda: done.append(interpreter.codes.run(
        "import time\nprint('go', flush=True)\ntime.sleep(60)", context=context, handlers=handlers)))
    thread.start()
    eventually(lambda: "started" in ident)
    interpreter.codes.interrupt(ident[0])
    thread.join(PATIENCE_S)
    assert done and done[0].error.name == "KeyboardInterrupt"
    assert interpreter.codes.run("1 + 1", context=context).result[0].text == "2"
    interpreter.codes.delete_context(context.id)


def test_code_of_a_shell_needs_no_kernel(interpreter):
    context = interpreter.codes.create_context("bash")
    execution = interpreter.codes.run("x=41; echo hi; echo bad >&2", context=context)
    assert execution.logs.stdout[0].text == "hi\n" and execution.logs.stderr[0].text == "bad\n" and execution.error is None
    failed = interpreter.codes.run("exit 3", context=context)
    assert (failed.error.name, failed.error.value) == ("CommandExecError", "3") and failed.complete is None
    assert interpreter.codes.run("echo [$x]", context=context).logs.stdout[0].text == "[]\n"
    assert context.id in [c.id for c in interpreter.codes.list_contexts("bash")]
    interpreter.codes.delete_context(context.id)


def test_sql(interpreter):
    execution = interpreter.codes.run("CREATE TABLE t (a, b); INSERT INTO t VALUES (1, 'x'), (NULL, 'ü'); SELECT * FROM t",
                                      language="sql")
    assert execution.error is None and execution.execution_count == 1
    assert json.loads(execution.result[-1].text) == {"columns": ["a", "b"], "rows": [["1", "x"], [None, "ü"]]}
    failed = interpreter.codes.run("SELECT * FROM missing", language="sql")
    assert failed.error.name == "DBQueryError" and "no such table" in failed.error.value
