"""Starting and ending execd: options, listeners, refusals, the token."""

import os
import signal
import subprocess
import threading

import pytest

from harness import web
from harness.execd import EXECD, TOKEN, TOKEN_HEADER, Execd, fds, output_of


def run(*options, env=None):
    return subprocess.run([str(EXECD), *options], env={"PATH": "/usr/bin", **(env or {})}, timeout=20,
                          capture_output=True, text=True)


def test_version_and_help():
    assert run("--version").stdout.startswith("execd ")
    assert '"name":"execd"' in run("--version", "--json").stdout
    help_text = run("--help").stdout
    for option in ("--listen", "--access-token-sha256", "--insecure", "--grace", "--init", "--port", "[$EXECD_ACCESS_TOKEN]"):
        assert option in help_text


@pytest.mark.parametrize("options, names", [
    (["--prot", "1"], ["prot", "port"]),
    (["--port", "65536"], ["--port", "65536"]),
    (["--log-level", "loud"], ["loud", "debug"]),
    (["--grace", "1 week"], ["--grace", "1 week"]),
    (["--line-endings", "crlf"], ["crlf", "keep"]),
    (["--access-token-sha256", "zz"], ["64 hex digits"]),
    (["--init"], ["--init", "no program"]),
    (["--insecure", "--listen", "nowhere"], ["nowhere"]),
])
def test_bad_options_are_refused_with_a_hint(options, names):
    ended = run(*options)
    assert ended.returncode in (1, 2)
    for name in names:
        assert name in ended.stderr


@pytest.mark.parametrize("options", [[], ["--listen", "0.0.0.0:0"], ["--listen", "[::]:0"], ["--listen", "10.1.2.3:80"]])
def test_E14_no_token_needs_insecure(options):
    ended = run(*options)
    assert ended.returncode == 2
    assert "--insecure" in ended.stderr and len(ended.stderr.splitlines()) == 1


def test_no_token_is_fine_on_loopback_and_unix(tmp_path):
    with Execd(tmp_path, token=None) as agent:
        assert agent.new_client(token=None).get("/files/info?path=/").status_code == 200


def test_E07_without_a_token_strange_names_are_refused_but_over_unix_sockets(tmp_path):
    with Execd(tmp_path, token=None) as agent:
        path, strange = "/files/info?path=/", {"Host": "rebound.example"}
        assert agent.new_client(token=None).get(path, headers=strange).status_code == 200
        base = f"http://127.0.0.1:{agent.port}"
        answer = web.get(base + path, headers=strange)
        assert answer.status_code == 403 and answer.json()["code"] == "FORBIDDEN"
        assert "AUTH_007" in answer.json()["message"] and "rebound.example" in answer.json()["message"]
        assert web.get(base + path).status_code == 200


def test_ping_and_ready_need_no_token(execd):
    client = execd.new_client(token=None)
    for path in ("/ping", "/ready"):
        response = client.get(path)
        assert (response.status_code, response.content) == (200, b"")


@pytest.mark.parametrize("value", [None, "", "wrong", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), f"{TOKEN},{TOKEN}"])
def test_E01_wrong_tokens_are_refused(execd, value):
    client = execd.new_client(token=None)
    response = client.get("/files/info?path=/", headers={TOKEN_HEADER: value} if value is not None else {})
    assert response.status_code == 401
    body = response.json()
    assert body["code"] == "UNAUTHORIZED"
    assert body["error"] == f"Unauthorized: invalid or missing header {TOKEN_HEADER}"
    assert body["message"]


@pytest.mark.parametrize("pair", [(TOKEN, "wrong"), ("wrong", TOKEN), (TOKEN, TOKEN)])
def test_E01_two_token_headers_are_refused(raw_http, pair):
    with raw_http() as connection:
        connection.send("GET /files/info?path=/ HTTP/1.1\r\nHost: x\r\n"
                        + "".join(f"{TOKEN_HEADER}: {value}\r\n" for value in pair) + "\r\n")
        assert connection.read_response().status == 401


@pytest.mark.parametrize("path", ["/ping/", "//ping", "/PING", "/ping/../files/info", "/ping%2f..%2ffiles/info", "/ping;x"])
def test_E02_only_the_exact_path_is_open(raw_http, path):
    with raw_http() as connection:
        connection.send(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
        assert connection.read_response().status in (400, 401, 404)


def test_the_right_token_is_accepted(execd):
    assert execd.client.get("/files/info", params={"path": "/"}).status_code == 200


def test_clear_token_is_wiped_from_the_argument_vector(start_execd):
    agent = start_execd("--access-token", "clear-canary-token", token=None)
    assert agent.new_client("clear-canary-token").get("/files/info?path=/").status_code == 200
    with open(f"/proc/{agent.pid}/cmdline", "rb") as file:
        assert b"canary" not in file.read()


def test_clear_token_is_wiped_from_the_environment(start_execd):
    agent = start_execd(env={"EXECD_ACCESS_TOKEN": "clear-canary-token", "JUPYTER_TOKEN": "canary-two"}, token=None)
    assert agent.new_client("clear-canary-token").get("/files/info?path=/").status_code == 200
    with open(f"/proc/{agent.pid}/environ", "rb") as file:
        assert b"canary" not in file.read()


def test_port_in_use_is_one_clear_line(execd):
    ended = run("--insecure", "--listen", f"127.0.0.1:{execd.port}")
    assert ended.returncode == 1
    assert str(execd.port) in ended.stderr and "in use" in ended.stderr


def test_taken_inner_port_is_a_warning(execd, start_execd):
    agent = start_execd("--inner-listen", f"127.0.0.1:{execd.port}")
    assert agent.client.get("/ping").status_code == 200
    assert agent.wait_log(level="warn")["where"].endswith(str(execd.port))


def test_live_unix_socket_is_not_stolen(execd):
    ended = run("--listen", f"unix:{execd.socket}")
    assert ended.returncode == 1
    assert execd.client.get("/ping").status_code == 200


def test_stale_unix_socket_is_replaced(start_execd, tmp_path):
    agent = start_execd()
    path = agent.socket
    assert agent.client.get("/ping").status_code == 200
    agent.process.kill()
    agent.wait()
    assert path.exists()
    with Execd(path.parent) as again:
        assert again.client.get("/ping").status_code == 200


def test_inherited_descriptors_are_closed(tmp_path):
    read_end, write_end = os.pipe()
    try:
        with Execd(tmp_path, pass_fds=[write_end]) as agent:
            assert agent.client.get("/ping").status_code == 200
            assert os.readlink(f"/proc/self/fd/{read_end}") not in fds(agent.pid).values()
    finally:
        os.close(read_end)
        os.close(write_end)


def test_start_directory_is_left(tmp_path):
    with Execd(tmp_path) as agent:
        agent.client.get("/ping")
        assert os.readlink(f"/proc/{agent.pid}/cwd") == "/"


def test_log_file_and_levels(tmp_path, start_execd):
    agent = start_execd("--log-level", "7", env={"EXECD_LOG_FILE": str(tmp_path / "log")}, listen=False,
                        token=None, entrypoint=["true"])
    # Without a listener of its own it would serve everybody: refused, so the log file stays unused.
    assert agent.wait() == 2
    agent = start_execd("--log-level", "debug", "--log-file", str(tmp_path / "log"), "--exit-with-entrypoint",
                        entrypoint=["true"])
    assert agent.wait() == 0
    assert '"msg":"listening"' in (tmp_path / "log").read_text()


def test_second_signal_ends_at_once(start_execd):
    agent = start_execd("--grace", "60s", entrypoint=["/bin/sh", "-c", "trap '' TERM; echo; while :; do sleep 1; done"])
    agent.client.get("/ping")
    agent.close_clients()
    agent.send_signal(signal.SIGTERM)
    agent.wait_log(msg="shutting down")
    agent.send_signal(signal.SIGTERM)
    assert agent.wait(10) == 0


def test_N03_a_storm_of_signals_changes_nothing(execd):
    """What execd waits for itself (SIGCHLD), what it passes on and what it ignores, as fast as they can be sent."""
    over = threading.Event()

    def storm():
        while not over.is_set():
            for number in (signal.SIGCHLD, signal.SIGWINCH, signal.SIGPIPE, signal.SIGURG):
                os.kill(execd.pid, number)

    thread = threading.Thread(target=storm)
    thread.start()
    try:
        for code in range(40):
            events = execd.command(f"head -c 100000 /dev/zero | tr '\\\\0' a; exit {code}")
            assert len(output_of(events)) == 100000
            assert events[-1].get("error", {}).get("evalue", "0") == str(code)
    finally:
        over.set()
        thread.join()


def test_localhost_is_served_without_a_look_up(start_execd):
    agent = start_execd("--listen", "localhost:0", listen=False)
    where = agent.wait_log(msg="listening", where="localhost:0")
    assert web.get(f"http://127.0.0.1:{where['port']}/ping").status_code == 200
