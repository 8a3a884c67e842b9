"""The same as tests/integration/test_bootstrap.py where it matters most: as PID 1."""

import signal

from harness.execd import eventually


def start(pid1, *words, env=None):
    return pid1("bootstrap", *words, listen=False,
                env={"EXECD_LISTEN": "127.0.0.1:0", "EXECD_INNER_LISTEN": "off", **(env or {})})


def test_pid1_is_kept_through_the_pre_script(pid1, tmp_path):
    script = tmp_path / "pre"
    script.write_text("echo script $$ >&2; (sleep 0.2; exit 5) & export LEFT=$!\n")
    agent = start(pid1, "-c", "echo entrypoint of $PPID >&2; exit 4",
                  env={"EXECD_BOOTSTRAP_PRE_SCRIPT": str(script), "EXECD_ENVS": str(tmp_path / "envs")})
    assert agent.wait() == 4
    assert "script 1" in agent.lines and "entrypoint of 1" in agent.lines


def test_pid1_forwards_term_to_the_program(pid1, tmp_path):
    agent = start(pid1, "-c", "trap 'echo got TERM >&2; exit 3' TERM; echo up >&2; while :; do sleep 0.05; done",
                  env={"EXECD_ENVS": str(tmp_path / "envs")})
    eventually(lambda: "up" in agent.lines)
    agent.wait_log(msg="listening")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert "got TERM" in agent.lines
