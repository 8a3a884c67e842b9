"""`osb`, the published command line, against a real sandbox: its command and file verbs."""

import json
import os
import subprocess

import pytest

from harness.contract import Contract
from harness.execd import BUILD, eventually
from harness.server import KEY

OSB = BUILD / "venv/bin/osb"
PATHS = Contract("execd").doc["paths"]


def needs(path):
    """A verb whose route this execd does not serve."""
    return pytest.mark.skipif(path not in PATHS, reason=f"execd has no route {path}")


class Cli:
    def __init__(self, server, sandbox, folder):
        self.base = [OSB, "--api-key", KEY, "--domain", f"127.0.0.1:{server.port}", "--no-color", "--config",
                     folder / "osb.toml"]
        self.sandbox = sandbox.id
        self.folder = folder

    def run(self, *words, stdin=b""):
        env = {"PATH": os.environ["PATH"], "HOME": str(self.folder), "OPENSANDBOX_DISABLE_METRICS": "1"}
        ended = subprocess.run([*map(str, self.base), *map(str, words)], input=stdin, capture_output=True, timeout=60, env=env)
        return ended.returncode, ended.stdout.decode(errors="replace"), ended.stderr.decode(errors="replace")

    def command(self, verb, *words):
        return self.run("command", verb, self.sandbox, *words)

    def file(self, verb, *words, stdin=b""):
        code, out, err = self.run("file", verb, self.sandbox, *words, stdin=stdin)
        assert code == 0, out + err
        return out

    def json(self, *words):
        end = words.index("--") if "--" in words else len(words)
        code, out, err = self.run(*words[:end], "-o", "json", *words[end:])
        assert code == 0, out + err
        return json.loads(out)


@pytest.fixture
def cli(server, sandbox, tmp_path):
    return Cli(server, sandbox, tmp_path)


def test_health_and_metrics(cli):
    assert cli.json("sandbox", "health", cli.sandbox)["healthy"] is True
    metrics = cli.json("sandbox", "metrics", cli.sandbox)
    assert metrics["memory_total_in_mib"] == 512


def test_command_run(cli):
    code, out, err = cli.command("run", "-w", "/tmp", "--", "sh", "-c", "pwd; printf 'a\\n\\nb'; echo bad >&2")
    assert (code, out) == (0, "/tmp\na\n\nb\n") and "bad" in err


def test_command_run_argv(cli):
    assert cli.command("run", "--argv", "--", "printf", "%s|", "$HOME", "a b", "")[:2] == (0, "$HOME|a b||\n")


@pytest.mark.parametrize("code", [1, 42])
def test_command_run_ends_with_the_commands_code(cli, code):
    assert cli.command("run", "--", "sh", "-c", f"exit {code}")[0] in (code, 1)


def test_command_in_the_background(cli):
    started = cli.json("command", "run", "-d", cli.sandbox, "--", "sh", "-c", "echo one; echo two; exit 3")
    ident = started["execution_id"]
    eventually(lambda: not cli.json("command", "status", cli.sandbox, ident)["running"])
    assert cli.json("command", "status", cli.sandbox, ident)["exit_code"] == 3
    code, out, _ = cli.command("logs", ident, "-o", "raw")
    assert code == 0 and out.startswith("one\ntwo\n")


def test_command_interrupt(cli):
    started = cli.json("command", "run", "-d", cli.sandbox, "--", "sleep", "100")
    ident = started["execution_id"]
    assert cli.command("interrupt", ident)[0] == 0
    assert cli.json("command", "status", cli.sandbox, ident)["running"] is False


@needs("/session")
def test_command_session(cli):
    made = cli.json("command", "session", "create", cli.sandbox, "-w", "/tmp")
    ident = made["session_id"]
    run = ("command", "session", "run", cli.sandbox, ident, "--")
    assert cli.run(*run, "export", "X=kept here")[:2] == (0, "")
    assert cli.run(*run, "cd", "/usr/lib")[0] == 0
    assert cli.run(*run, "printenv", "X", "PWD")[:2] == (0, "kept here\n/usr/lib\n")
    assert cli.run("command", "session", "delete", cli.sandbox, ident)[0] == 0
    assert cli.run(*run, "pwd")[0] != 0


def test_file_write_cat_upload_download_info(cli, tmp_path):
    cli.file("write", "/tmp/cli/text.txt", "-c", "héllo\n", "--mode", "0640")
    assert cli.file("cat", "/tmp/cli/text.txt").rstrip("\n") == "héllo"
    data = bytes(range(256)) * 1000
    (tmp_path / "up").write_bytes(data)
    cli.file("upload", tmp_path / "up", "/tmp/cli/data.bin")
    cli.file("download", "/tmp/cli/data.bin", tmp_path / "down")
    assert (tmp_path / "down").read_bytes() == data
    assert '640' in cli.file("info", "/tmp/cli/text.txt", "-o", "json")


@needs("/files/search")
def test_file_search(cli):
    cli.file("write", "/tmp/cli-search/deep/needle.txt", "-c", "x")
    assert "/tmp/cli-search/deep/needle.txt" in cli.file("search", "/tmp/cli-search", "-p", "*.txt", "-o", "json")


@needs("/files/mv")
def test_file_mv_and_rm(cli):
    cli.file("write", "/tmp/cli-mv/a", "-c", "moved")
    cli.file("mv", "/tmp/cli-mv/a", "/tmp/cli-mv/b")
    assert cli.file("cat", "/tmp/cli-mv/b").rstrip("\n") == "moved"
    cli.file("rm", "/tmp/cli-mv/b")
    assert cli.run("file", "cat", cli.sandbox, "/tmp/cli-mv/b")[0] != 0


@needs("/files/permissions")
def test_file_chmod(cli):
    cli.file("write", "/tmp/cli-chmod", "-c", "x")
    cli.file("chmod", "/tmp/cli-chmod", "--mode", "0600")
    assert "600" in cli.file("info", "/tmp/cli-chmod", "-o", "json")


@needs("/files/replace")
def test_file_replace(cli):
    cli.file("write", "/tmp/cli-replace", "-c", "old and old")
    cli.file("replace", "/tmp/cli-replace", "--old", "old", "--new", "new")
    assert cli.file("cat", "/tmp/cli-replace").rstrip("\n") == "new and new"


@needs("/directories")
def test_file_mkdir_and_rmdir(cli):
    cli.file("mkdir", "/tmp/cli-dir/deep", "--mode", "0750")
    assert "750" in cli.file("info", "/tmp/cli-dir/deep", "-o", "json")
    cli.file("rmdir", "/tmp/cli-dir")
    assert cli.run("file", "info", cli.sandbox, "/tmp/cli-dir")[0] != 0
