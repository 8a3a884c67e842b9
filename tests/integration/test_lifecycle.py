"""Life-cycle hooks: the order of the start, failures, time limits, schedules (contracts/v1.1.md 1.9)."""

import json
import subprocess

import pytest

from harness.execd import EXECD, children, eventually


def hooks(**body):
    return {"OPENSANDBOX_LIFECYCLE": json.dumps(body)}


def shell(text, **more):
    return {"command": ["/bin/sh", "-c", text], **more}


def test_pre_start_runs_to_its_end_before_the_program(start_execd, tmp_path):
    go = tmp_path / "go"
    agent = start_execd(entrypoint=["/bin/sh", "-c", "echo program >&2; exec sleep 60"],
                        env=hooks(preStart=shell(f"echo hook >&2; until [ -e {go} ]; do sleep 0.02; done")))
    eventually(lambda: "hook" in agent.lines)
    assert agent.client.get("/ping").status_code == 200, "execd listens while preStart runs"
    assert agent.client.get("/ready").status_code == 503
    assert "program" not in agent.lines
    go.touch()
    eventually(lambda: "program" in agent.lines)
    eventually(lambda: agent.client.get("/ready").status_code == 200)
    assert agent.stop() == 0


@pytest.mark.parametrize("code", [1, 42])
def test_a_failing_pre_start_stops_the_program(start_execd, code):
    agent = start_execd("--init", entrypoint=["/bin/sh", "-c", "echo program >&2"],
                        env=hooks(preStart=shell(f"exit {code}"),
                                  periodic=[{"name": "p", "schedule": "@every 1s", **shell("echo periodic >&2")}]))
    assert agent.wait() == code
    assert "program" not in agent.lines and "periodic" not in agent.lines


def test_without_init_execd_goes_on_after_a_failed_pre_start(start_execd):
    agent = start_execd(entrypoint=["/bin/sh", "-c", "echo program >&2"], env=hooks(preStart=shell("exit 1")))
    agent.wait_log(msg="preStart failed: the entrypoint is not started")
    assert agent.client.get("/ping").status_code == 200
    assert agent.stop() == 0
    assert "program" not in agent.lines


def test_a_missing_pre_start_program(start_execd):
    agent = start_execd("--init", entrypoint=["true"], env=hooks(preStart={"command": ["/no/such/hook"]}))
    assert agent.wait() == 127


def test_a_pre_start_that_takes_too_long_is_ended_with_all_it_started(start_execd):
    agent = start_execd("--init", entrypoint=["true"],
                        env=hooks(preStart=shell("trap '' TERM; sleep 70 & sleep 70", timeoutSeconds=1)))
    assert agent.wait() == 124


def test_hooks_have_the_programs_environment(start_execd, tmp_path):
    secret = {"EXECD_ACCESS_TOKEN": "very-secret", "SEEN": "yes"}
    agent = start_execd(entrypoint=["true"], token=None, cwd=tmp_path,
                        env={**hooks(preStart=shell("echo $SEEN:$EXECD_ACCESS_TOKEN:$PWD >&2")), **secret})
    eventually(lambda: f"yes::{tmp_path}" in agent.lines)
    assert agent.stop() == 0


def test_periodic_hooks_run_again_and_never_beside_themselves(start_execd, tmp_path):
    agent = start_execd(entrypoint=["sleep", "60"], env=hooks(periodic=[
        {"name": "quick", "schedule": "@every 1s", **shell("echo quick >&2")},
        {"name": "slow", "schedule": "@every 1s", **shell("echo slow >&2; sleep 60")},
        {"name": "broken", "schedule": "@every 1s", "command": ["/no/such/hook"]},
    ]))

    def skipped():
        return [e["hook"] for e in agent.log if e["msg"] == "a hook is skipped: its last run goes on"]

    eventually(lambda: agent.lines.count("quick") >= 3 and "slow" in agent.lines and skipped())
    assert agent.lines.count("slow") == 1 and "slow" in skipped()
    eventually(lambda: any(e.get("hook") == "broken" for e in agent.log))
    assert agent.stop() == 0
    assert children(agent.pid) == []


def test_a_periodic_hook_is_ended_by_its_limit_and_comes_again(start_execd):
    agent = start_execd(env=hooks(periodic=[
        {"name": "stuck", "schedule": "@every 1s", **shell("echo on >&2; sleep 60", timeoutSeconds=1)}]))
    agent.wait_log(msg="a hook took too long", hook="stuck", code="124")
    eventually(lambda: agent.lines.count("on") >= 2)
    assert agent.stop() == 0


GOOD = {"name": "a", "schedule": "@hourly", "command": ["true"]}


@pytest.mark.parametrize("text, word", [
    ("{", "OPENSANDBOX_LIFECYCLE"),
    ("[]", "object"),
    (json.dumps({"preStop": {"command": ["true"]}}), "preStop"),
    (json.dumps({"preStart": {}}), "command"),
    (json.dumps({"preStart": {"command": []}}), "command"),
    (json.dumps({"preStart": {"command": "true"}}), "command"),
    (json.dumps({"preStart": {"command": ["true"], "timeoutSeconds": 0}}), "timeoutSeconds"),
    (json.dumps({"preStart": {"command": ["true"], "timeoutSeconds": 10801}}), "timeoutSeconds"),
    (json.dumps({"preStart": {"command": ["true"], "shell": True}}), "shell"),
    (json.dumps({"periodic": [{**GOOD, "name": ""}]}), "name"),
    (json.dumps({"periodic": [{**GOOD, "timeoutSeconds": 301}]}), "timeoutSeconds"),
    (json.dumps({"periodic": [{**GOOD, "schedule": "61 * * * *"}]}), "minute"),
    (json.dumps({"periodic": [{**GOOD, "schedule": "@every 10ms"}]}), "@every"),
    (json.dumps({"periodic": [{**GOOD, "schedule": "0 0 30 2 *"}]}), "never comes"),
    (json.dumps({"periodic": [GOOD, GOOD]}), "taken"),
    (json.dumps({"periodic": [{**GOOD, "name": str(i)} for i in range(101)]}), "periodic"),
])
def test_bad_hooks_are_refused_before_anything_starts(tmp_path, text, word):
    ended = subprocess.run([EXECD, "--listen", f"unix:{tmp_path}/s", "--inner-listen", "off", "--", "touch", tmp_path / "ran"],
                           env={"PATH": "/usr/bin:/bin", "OPENSANDBOX_LIFECYCLE": text}, timeout=10,
                           capture_output=True, text=True)
    assert ended.returncode == 1, ended.stderr
    assert word in ended.stderr.splitlines()[-1]
    assert not (tmp_path / "ran").exists()


def test_no_hooks_is_an_empty_text(start_execd):
    for text in ("", "{}", '{"preStart": null, "periodic": []}'):
        agent = start_execd("--init", entrypoint=["/bin/sh", "-c", "exit 7"], env={"OPENSANDBOX_LIFECYCLE": text})
        assert agent.wait() == 7
