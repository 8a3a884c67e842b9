"""execd in the place of OpenSandbox's bootstrap.sh: by name, by word, through a pre-script (contracts/execd.md 3.11)."""

import os
import shutil
import signal
import subprocess

import pytest

from harness.execd import EXECD, Execd, eventually, output_of


@pytest.fixture
def bootstrap(tmp_path):
    """bootstrap("-c", "echo hi", env={...}, by="name" | "word") starts one; its log lines are in .lines."""
    running = []

    def start(*words, env=None, by="name", launcher=(), **keywords):
        folder = tmp_path / f"start{len(running)}"
        folder.mkdir()
        name = folder / "bootstrap.sh"
        name.symlink_to(EXECD.resolve())
        binary, first = (name, ()) if by == "name" else (EXECD, ("bootstrap",))
        full = {"EXECD_LISTEN": f"unix:{folder}/execd.sock", "EXECD_INNER_LISTEN": "off",
                "EXECD_ENVS": f"{folder}/opt/envs", **(env or {})}
        agent = Execd(folder, *first, *words, env=full, listen=False, binary=binary, launcher=launcher, **keywords)
        running.append(agent)
        return agent

    yield start
    for agent in running:
        agent.stop()


def said(agent):
    """What the entrypoint wrote to standard error, after the end."""
    agent.wait()
    return [line for line in agent.lines if not line.startswith("{")]


@pytest.mark.parametrize("by", ["name", "word"])
@pytest.mark.parametrize("words, env, expected", [
    (["sh", "-c", "echo \"$0|$1\" >&2", "a b", "c"], {}, "a b|c"),
    (["-c", "echo one >&2;", "echo", "two", ">&2"], {}, "one\ntwo"),
    ([], {"BOOTSTRAP_CMD": "echo from $((40 + 2)) >&2"}, "from 42"),
    (["echo", "not this"], {"BOOTSTRAP_CMD": "echo cmd wins >&2"}, "cmd wins"),
    (["-c", "echo not this >&2"], {"BOOTSTRAP_CMD": "echo cmd wins >&2"}, "cmd wins"),
    (["-c", "echo $0 >&2"], {"BOOTSTRAP_SHELL": "/bin/sh"}, "/bin/sh"),
    (["sh", "-c", "echo --port -- >&2"], {}, "--port --"),
], ids=["argv", "-c", "cmd", "cmd-argv", "cmd-c", "shell", "dashes"])
def test_the_program_is_chosen(bootstrap, by, words, env, expected):
    assert "\n".join(said(bootstrap(*words, env=env, by=by))) == expected


def test_without_words_a_shell_reads_standard_input(bootstrap):
    agent = bootstrap()
    assert agent.wait() == 0  # /dev/null has no more to say
    assert any(entry["msg"] == "the entrypoint has ended" for entry in agent.log)


@pytest.mark.parametrize("code", [0, 1, 77, 255])
def test_it_ends_with_the_programs_code(bootstrap, code):
    assert bootstrap("-c", f"exit {code}").wait() == code


def test_a_missing_program_is_127(bootstrap):
    assert bootstrap("/no/such/program").wait() == 127


def test_term_reaches_the_program_and_the_end_is_a_success(bootstrap):
    agent = bootstrap("-c", "trap 'echo got TERM >&2; exit 3' TERM; echo up >&2; while :; do sleep 0.05; done")
    eventually(lambda: "up" in agent.lines)
    agent.wait_log(msg="listening")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait() == 0
    assert "got TERM" in agent.lines


def test_as_init_term_ends_with_the_programs_code(bootstrap):
    agent = bootstrap("-c", "trap 'exit 3' TERM; echo up >&2; while :; do sleep 0.05; done", env={"EXECD_INIT": "1"})
    eventually(lambda: "up" in agent.lines)
    agent.wait_log(msg="listening")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait() == 3


def test_the_environment_file_is_made_and_used(bootstrap):
    agent = bootstrap("-c", "exec sleep 60")
    file = agent.folder / "opt" / "envs"
    eventually(file.exists)
    assert file.read_bytes() == b""
    file.write_text("FROM_FILE=here\n")
    assert output_of(agent.command("echo $FROM_FILE $EXECD_ENVS")) == f"here {file}\n"


def test_an_existing_environment_file_stays(bootstrap, tmp_path):
    file = tmp_path / "envs"
    file.write_text("KEPT=yes\n")
    agent = bootstrap("-c", "echo $KEPT >&2", env={"EXECD_ENVS": str(file)})
    assert said(agent) == ["yes"]
    assert file.read_text() == "KEPT=yes\n"


def test_an_environment_file_that_cannot_be_made_is_only_said(bootstrap, tmp_path):
    (tmp_path / "file").write_text("")
    agent = bootstrap("-c", "echo runs >&2", env={"EXECD_ENVS": f"{tmp_path}/file/envs"})
    assert agent.wait() == 0
    assert "runs" in agent.lines
    assert any("EXECD_ENVS" in line and "cannot be made" in line for line in agent.lines)


# ---- the pre-script


def script(tmp_path, text):
    path = tmp_path / "pre script.sh"
    path.write_text(text)
    return {"EXECD_BOOTSTRAP_PRE_SCRIPT": str(path)}


@pytest.mark.parametrize("by", ["name", "word"])
def test_what_the_pre_script_exports_reaches_everybody(bootstrap, tmp_path, by):
    env = script(tmp_path, "export EXPORTED='two words'; KEPT_BACK=x; export PATH=\"/pre:$PATH\"\n")
    agent = bootstrap("-c", "echo $EXPORTED:$KEPT_BACK >&2; exec sleep 60", env=env, by=by)
    assert output_of(agent.command("echo $EXPORTED:$KEPT_BACK; echo $PATH")).startswith("two words:\n/pre:")
    assert "two words:" in agent.lines


def test_the_pre_script_can_configure_execd_itself(bootstrap, tmp_path):
    env = script(tmp_path, "export EXECD_LOG_LEVEL=error BOOTSTRAP_CMD='echo chosen late >&2'\n")
    agent = bootstrap("echo", "not this", env=env)
    assert said(agent) == ["chosen late"]
    assert agent.log == []


def test_the_process_stays_the_same(bootstrap, tmp_path):
    agent = bootstrap("-c", "echo $PPID >&2", env=script(tmp_path, "echo script $$ >&2\n"))
    assert said(agent) == [f"script {agent.pid}", str(agent.pid)]


def test_words_survive_the_shell(bootstrap, tmp_path):
    words = ["printf", "<%s>", "a b", "$HOME", "'", '"', "*", "", "-c", "\\n"]
    agent = bootstrap("sh", "-c", '"$@" >&2; echo >&2', "sh", *words, env=script(tmp_path, ":\n"))
    assert said(agent) == ["<a b><$HOME><'><\"><*><><-c><\\n>"]


def test_a_failing_pre_script_ends_the_start(bootstrap, tmp_path):
    agent = bootstrap("-c", "echo not reached >&2", env=script(tmp_path, "false\n"))
    assert agent.wait() == 1
    assert "not reached" not in agent.lines
    assert bootstrap("true", env=script(tmp_path, "exit 9\n")).wait() == 9


def test_a_missing_pre_script_is_a_warning(bootstrap):
    agent = bootstrap("-c", "echo runs >&2", env={"EXECD_BOOTSTRAP_PRE_SCRIPT": "/no/such/script"})
    lines = said(agent)
    assert lines[0].startswith("execd: bootstrap: EXECD_BOOTSTRAP_PRE_SCRIPT: /no/such/script") and lines[1] == "runs"


def test_the_token_is_gone_after_the_pre_script(bootstrap, tmp_path):
    agent = bootstrap("-c", "env >&2", token=None,
                      env={"EXECD_ACCESS_TOKEN": "very-secret", **script(tmp_path, ":\n")})
    assert not any("very-secret" in line for line in said(agent))


# ---- certificates

CA = "-----BEGIN CERTIFICATE-----\nnot a real one\n-----END CERTIFICATE-----\n"


@pytest.fixture
def own_opt(tmp_path):
    """A launcher that gives the program a mount namespace with an /opt and certificate folders of its own."""
    if os.geteuid() != 0:
        pytest.skip("mounts need root")
    opt = tmp_path / "opt"
    (opt / "opensandbox").mkdir(parents=True)
    binds = [f"mount --bind {opt} /opt"]
    for place in ("/etc/ssl/certs", "/usr/local/share/ca-certificates"):
        copy = tmp_path / place.replace("/", "_")
        shutil.copytree(place, copy, symlinks=True) if os.path.isdir(place) else None
        binds += [f"mount --bind {copy} {place}"] if copy.exists() else []
    launcher = tmp_path / "launch"
    launcher.write_text("#!/bin/sh\nset -e\n" + "\n".join(binds) + '\nexec "$@"\n')
    launcher.chmod(0o755)
    return opt / "opensandbox", ["unshare", "--mount", launcher]


@pytest.mark.parametrize("late", [False, True])
def test_the_proxys_certificate_is_waited_for_and_trusted(bootstrap, own_opt, late):
    folder, launcher = own_opt
    certificate, merged = folder / "mitmproxy-ca-cert.pem", folder / "merged-ca-certificates.pem"
    if not late:
        certificate.write_text(CA)
    agent = bootstrap("-c", "echo $NODE_EXTRA_CA_CERTS:$REQUESTS_CA_BUNDLE:$SSL_CERT_FILE >&2",
                      env={"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "True"}, launcher=launcher)
    if late:
        with pytest.raises(subprocess.TimeoutExpired):
            agent.process.wait(0.3)
        certificate.write_text(CA)
    assert agent.wait() == 0
    assert f"/opt/opensandbox/{certificate.name}" + 2 * f":/opt/opensandbox/{merged.name}" in agent.lines
    assert merged.read_text(errors="replace").endswith(CA)
    assert merged.stat().st_size > len(CA) or not os.path.exists("/etc/ssl/certs/ca-certificates.crt")


def test_the_wait_for_the_certificate_can_be_ended(bootstrap, own_opt):
    _, launcher = own_opt
    agent = bootstrap("true", env={"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "1"}, launcher=launcher)
    with pytest.raises(subprocess.TimeoutExpired):
        agent.process.wait(0.3)
    agent.send_signal(signal.SIGTERM)
    assert agent.wait() == 143


def test_no_proxy_no_wait(bootstrap):
    agent = bootstrap("-c", "echo [$SSL_CERT_FILE] >&2", env={"OPENSANDBOX_EGRESS_MITMPROXY_TRANSPARENT": "false"})
    assert said(agent) == ["[]"]


# ---- as other programs start it


def test_behind_a_shell_script(tmp_path):
    """bootstrap.sh of upstream: `$EXECD &`, then the user's command; execd is not PID 1 and outlives its start."""
    socket = tmp_path / "execd.sock"
    start = tmp_path / "start.sh"
    start.write_text('"$EXECD" &\necho $! >pid\nwait\n')
    env = {"PATH": os.environ["PATH"], "EXECD": str(EXECD), "EXECD_LISTEN": f"unix:{socket}", "EXECD_INNER_LISTEN": "off"}
    with subprocess.Popen(["sh", start], env=env, cwd=tmp_path, stderr=subprocess.PIPE) as shell:
        try:
            eventually(socket.exists)
            answer = subprocess.run(["curl", "-sf", "--unix-socket", socket, "http://x/ping"], timeout=10)
            assert answer.returncode == 0
        finally:
            os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
            shell.wait(10)
