"""Every flag and variable of upstream's execd, row by row (contracts/execd.md 3.10): taken, refused, and which wins."""

import subprocess

import pytest

from harness.execd import EXECD, TOKEN_HEADER, eventually, output_of


def run(*options, env=None, limit_s=10):
    """One that ends by itself: --version behind whatever is to be parsed."""
    return subprocess.run([EXECD, *options], env={"PATH": "/usr/bin:/bin", **(env or {})}, timeout=limit_s,
                          stdin=subprocess.DEVNULL, capture_output=True, text=True)


UPSTREAM = [
    ("port", None, "44772"),
    ("log-level", "EXECD_LOG_LEVEL", "6"),
    ("access-token", "EXECD_ACCESS_TOKEN", "secret"),
    ("jupyter-host", "JUPYTER_HOST", "http://127.0.0.1:54321"),
    ("jupyter-token", "JUPYTER_TOKEN", "secret"),
    ("graceful-shutdown-timeout", "EXECD_API_GRACE_SHUTDOWN", "3s"),
    ("jupyter-idle-poll-interval", "EXECD_JUPYTER_IDLE_POLL_INTERVAL", "100ms"),
]


@pytest.mark.parametrize("form", ["-{0} {1}", "-{0}={1}", "--{0} {1}", "--{0}={1}"])
@pytest.mark.parametrize("flag, variable, value", UPSTREAM, ids=[row[0] for row in UPSTREAM])
def test_flags_in_all_of_gos_forms(flag, variable, value, form):
    ended = run(*form.format(flag, value).split(" "), "--version")
    assert ended.returncode == 0 and ended.stdout.startswith("execd "), ended.stderr


@pytest.mark.parametrize("flag, variable, value", [row for row in UPSTREAM if row[1]],
                         ids=[row[1] for row in UPSTREAM if row[1]])
def test_variables_are_taken(start_execd, flag, variable, value):
    options = {"token": None} if variable == "EXECD_ACCESS_TOKEN" else {}
    agent = start_execd(env={variable: value}, **options)
    with agent.new_client(token=None) as client:
        assert client.get("/ping").status_code == 200


@pytest.mark.parametrize("options, env, word", [
    (["--port", "x"], {}, "--port"),
    (["--port", "65536"], {}, "--port"),
    (["--cull-idle", "soon"], {}, "--cull-idle"),
    (["--cull-idle", "9000h"], {}, "--cull-idle"),
    (["--cull-interval", "x"], {}, "--cull-interval"),
    (["--port", "-1"], {}, "--port"),
    (["--log-level", "loud"], {}, "--log-level"),
    (["--graceful-shutdown-timeout", "soon"], {}, "grace"),
    ([], {"EXECD_API_GRACE_SHUTDOWN": "soon"}, "EXECD_API_GRACE_SHUTDOWN"),
    ([], {"EXECD_TOKEN_SHA256": "12"}, "hex digits"),
    (["--listen", "fd:1"], {}, "--listen"),
    (["--no-such-flag"], {}, "no-such-flag"),
    (["--acces-token", "x"], {}, "access-token"),
    (["--init"], {}, "no program"),
    (["--seccomp", "maybe"], {}, "--seccomp"),
    (["--line-endings", "both"], {}, "--line-endings"),
    (["--contexts-max", "0"], {}, "--contexts-max"),
    (["--kernel-dir", "/tmp/" + 66 * "k"], {}, "at most 70 bytes"),
    (["--kernel-dir", "/etc/passwd"], {}, "--kernel-dir: '/etc/passwd' must be a folder"),
    ([], {"EXECD_KERNEL_DIR": "/proc/nothing"}, "EXECD_KERNEL_DIR: make '/proc/nothing'"),
])
def test_bad_values_end_with_2_and_a_text(options, env, word):
    ended = run(*options, env=env)
    assert ended.returncode == 2, ended.stderr
    assert word in ended.stderr and ended.stdout == ""


@pytest.mark.parametrize("level, shown", [("0", {"error"}), ("3", {"error"}), ("4", {"error", "warn"}), ("error", {"error"}),
                                          ("6", {"error", "warn", "info"}), ("5", {"error", "warn", "info"})])
def test_log_levels_are_upstreams_digits(start_execd, tmp_path, level, shown):
    agent = start_execd("--log-level", level, "--", "/no/such/program",
                        env={"EXECD_LISTEN": f"unix:{tmp_path}/s", "EXECD_INNER_LISTEN": "off"}, listen=False)
    agent.wait_log(msg="listening" if "info" in shown else "the entrypoint could not be started")
    agent.stop()
    assert {entry["level"] for entry in agent.log} <= shown


def test_the_flag_wins_over_the_variable(start_execd):
    agent = start_execd("--access-token", "by-flag", env={"EXECD_ACCESS_TOKEN": "by-variable"}, token=None)
    with agent.new_client(token=None) as client:
        assert client.get("/metrics", headers={TOKEN_HEADER: "by-variable"}).status_code == 401
        assert client.get("/metrics", headers={TOKEN_HEADER: "by-flag"}).status_code == 200


def test_no_token_outside_needs_a_word():
    ended = run("--port", "0")
    assert ended.returncode == 2 and "--insecure" in ended.stderr


def test_help_names_every_flag_and_ends_with_0():
    ended = run("-h")
    assert ended.returncode == 0 and ended.stderr == ""
    for flag, variable, _ in UPSTREAM:
        assert f"--{flag}" in ended.stdout and (variable or "") in ended.stdout


@pytest.mark.parametrize("value, is_init", [("1", True), ("true", True), ("yes", True), ("on", True), ("TRUE", True),
                                            ("0", False), ("false", False), ("no", False), ("off", False), ("", False)])
def test_execd_init_values(start_execd, value, is_init):
    agent = start_execd(entrypoint=["/bin/sh", "-c", "exit 3"], env={"EXECD_INIT": value})
    if is_init:
        assert agent.wait() == 3
    else:
        agent.wait_log(msg="the entrypoint has ended")
        assert agent.client.get("/ping").status_code == 200
        assert agent.stop() == 0


def test_positionals_are_a_program_and_no_reason_to_end(start_execd):
    """The image's entrypoint is execd, and upstream's server starts it with `tail -f /dev/null` behind."""
    agent = start_execd("tail", "-f", "/dev/null")
    assert agent.client.get("/ping").status_code == 200
    assert agent.stop() == 0
    broken = start_execd("no-such-program", "--port", "1")
    broken.wait_log(msg="the entrypoint could not be started")
    assert output_of(broken.command("echo still here")) == "still here\n"


def test_the_log_file(start_execd, tmp_path):
    file = tmp_path / "logs.txt"
    agent = start_execd("--listen", f"unix:{tmp_path}/log.sock", "--inner-listen", "off", listen=False,
                        env={"EXECD_LOG_FILE": str(file)})
    eventually(lambda: file.exists() and "listening" in file.read_text())
    assert agent.stop() == 0
    assert agent.lines == [] and file.stat().st_mode & 0o777 == 0o600


@pytest.fixture
def jupyter(tmp_path):
    link = tmp_path / "jupyter"
    link.symlink_to(EXECD)
    return lambda *words: subprocess.run([link, *words], env={"PATH": "/usr/bin:/bin"}, timeout=10,
                                         stdin=subprocess.DEVNULL, capture_output=True, text=True)


@pytest.mark.parametrize("words", [["--help"], ["kernelgateway", "--help"], ["kernelgateway", "-h"],
                                   ["enterprisegateway", "--port", "1", "--help-all"]])
def test_jupyter_helps(jupyter, words):
    ended = jupyter(*words)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "jupyter kernelgateway [OPTIONS]" in ended.stdout and "--auth_token" in ended.stdout


@pytest.mark.parametrize("words", [["--version"], ["kernelgateway", "--version"]])
def test_jupyter_tells_its_version(jupyter, words):
    ended = jupyter(*words)
    assert (ended.returncode, ended.stderr) == (0, "") and ended.stdout.startswith("execd ")


@pytest.mark.parametrize("words, hint", [
    (["kernelgateway", "--bogus"], "unknown option '--bogus' (see --help)"),
    (["kernelgateway", "--KernelGatewayApp.auth_tokn=x"], "did you mean --auth_token"),
    (["lab"], "not 'lab'"),
])
def test_jupyter_starts_no_open_server_for_a_word_it_does_not_know(jupyter, words, hint):
    ended = jupyter(*words)
    assert ended.returncode == 2 and hint in ended.stderr, ended.stderr


@pytest.mark.parametrize("variable, value, text", [
    ("EXECD_ZYGOTE", "maybe", "expected on or off"),
    ("EXECD_SQL_DSN", "oracle://x", ""),
    ("EXECD_API_GRACE_SHUTDOWN", "soon", "'soon' is not a time"),
    ("EXECD_INSECURE", "maybe", "neither true nor false"),
    ("EXECD_LISTEN", "8080", "expected ADDRESS:PORT"),
    ("EXECD_GATEWAY_ROOT", "/no/such", "No such file"),
])
def test_a_bad_value_is_named_by_the_variable_that_it_came_from(variable, value, text):
    ended = run(env={variable: value, "EXECD_ACCESS_TOKEN": "t"})
    assert ended.returncode == 2 and ended.stderr.startswith(f"execd: environment variable {variable}: "), ended.stderr
    assert text in ended.stderr and "--" not in ended.stderr
    flag = {"EXECD_ZYGOTE": "--zygote", "EXECD_GATEWAY_ROOT": "--gateway-root"}.get(variable)
    if flag:
        ended = run(flag, value, env={variable: "on", "EXECD_ACCESS_TOKEN": "t"})
        assert ended.returncode == 2 and ended.stderr.startswith(f"execd: {flag}: "), ended.stderr
