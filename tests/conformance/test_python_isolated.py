"""The Python SDK's isolated sessions, unmodified, in a sandbox that was created for them."""

import pytest
from opensandbox import SandboxSync
from opensandbox.config import ConnectionConfigSync
from opensandbox.exceptions import SandboxApiException
from opensandbox.models.isolated import (CreateIsolatedSessionRequest, EnvPassthroughSpec, IsolatedOverlaySpec,
                                         IsolatedRunOpts, IsolatedWorkspaceSpec)

from conftest import connection
from harness.execd import eventually
from harness.server import SMALL


@pytest.fixture(scope="module")
def isolating(server):
    made = SandboxSync.create(SMALL, connection_config=connection(server, ConnectionConfigSync),
                              resource={"cpu": "1", "memory": "512Mi"},
                              extensions={"bootstrap.execd.isolation": "enable"})
    made.commands.run("mkdir -p /workspace; echo before >/workspace/old")
    yield made
    made.kill()
    made.close()


@pytest.fixture
def session(isolating):
    made = isolating.isolation.create(CreateIsolatedSessionRequest(
        workspace=IsolatedWorkspaceSpec(path="/workspace"), profile="strict", idle_timeout_seconds=300))
    yield made
    try:
        made.delete()
    except SandboxApiException as error:
        assert error.status_code == 404


def test_capabilities(isolating, sandbox):
    report = isolating.isolation.capabilities()
    assert report.available and report.hardening.seccomp.state == "active"
    refused = sandbox.isolation.capabilities()
    assert not refused.available and "CAP_SYS_ADMIN" in refused.message


def test_state_and_overlay(isolating, session):
    session.run("cd /workspace; echo after >old; x=5")
    execution = session.run("cat old; echo $x $$")
    assert execution.text.split() == ["after", "5", "2"] and execution.exit_code == 0
    assert isolating.commands.run("cat /workspace/old").text == "before"
    assert session.run("exit_with() { return 7; }; exit_with").exit_code == 7


def test_get_list_attach(isolating, session):
    state = session.get()
    assert state.status == "active" and state.workspace.path == "/workspace" and state.profile == "strict"
    assert 290 <= state.idle_remaining_seconds <= 300
    assert session.session_id in [row.session_id for row in isolating.isolation.list()]
    assert isolating.isolation.attach(session.session_id).run("echo same").text == "same"


def test_options(isolating, session):
    assert session.run("echo $A", opts=IsolatedRunOpts(envs={"A": "b c"})).text == "b c"
    late = session.run("sleep 30", opts=IsolatedRunOpts(timeout_seconds=1))
    assert late.error.name == "IsolatedError"
    assert session.run("echo alive").text == "alive"


def test_background(session):
    run = session.run_background("echo one; sleep 0.2; echo two; (exit 4)")
    status = eventually(lambda: not (now := session.run_status(run.run_id)).running and now)
    assert (status.running, status.exit_code) == (False, 4)
    logs = session.run_logs(run.run_id)
    assert (logs.text, logs.cursor) == ("one\ntwo\n", 8)
    assert session.run_logs(run.run_id, cursor=logs.cursor).text == ""


def test_overlays_identity_environment(isolating):
    isolating.commands.run("mkdir -p /workspace/deps /data; chmod 777 /data")
    made = isolating.isolation.create(CreateIsolatedSessionRequest(
        overlays=[IsolatedOverlaySpec(path="/workspace", mode="ro"), IsolatedOverlaySpec(path="/workspace/deps"),
                  IsolatedOverlaySpec(path="/data", mode="rw")],
        env_passthrough=EnvPassthroughSpec(mode="allow", keys=["HOME"]), share_net=False, uid=1000, gid=1000))
    try:
        events = made.run("id -u; touch /workspace/x 2>/dev/null || echo refused; touch /data/y; echo -$OPENSANDBOX_ID-")
        assert events.text.split() == ["1000", "refused", "--"]
        assert isolating.commands.run("stat -c %u /data/y").text == "1000"
        assert [overlay.mode for overlay in made.get().overlays] == ["ro", "overlay", "rw"]
    finally:
        made.delete()


def test_errors(isolating, session):
    with pytest.raises(SandboxApiException) as refused:
        isolating.isolation.create(CreateIsolatedSessionRequest())
    assert refused.value.status_code == 400
    session.delete()
    with pytest.raises(SandboxApiException) as gone:
        session.run("true")
    assert gone.value.status_code == 404
