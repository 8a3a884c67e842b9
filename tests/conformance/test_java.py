"""The published Java SDK (java/*.java use it): what its users see of each of its methods."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from harness import languages
from harness.execd import BUILD, TOKEN
from harness.server import KEY, SMALL

JARS = BUILD.resolve() / "java" / "jars"
SOURCES = sorted((Path(__file__).resolve().parent / "java").glob("*.java"))


@pytest.fixture(scope="module")
def program(tmp_path_factory):
    """The class path of the compiled program."""
    if not JARS.is_dir():
        pytest.skip("the Java SDK is not installed (make setup)")
    classes = tmp_path_factory.mktemp("java")
    subprocess.run(["javac", "-Werror", "-Xlint:all", "-d", classes, "-cp", f"{JARS}/*", *SOURCES], check=True, timeout=120)
    return f"{classes}:{JARS}/*"


def features(program, name, **env):
    """{feature: its line}, and what was on standard error."""
    ended = subprocess.run(["java", "-XX:TieredStopAtLevel=1", "-cp", program, name], timeout=100, text=True,
                           env={"PATH": os.environ["PATH"], "LANG": "C.UTF-8", **env},
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert ended.returncode == 0, ended.stderr[-8000:]
    return {line["feature"]: line for line in map(json.loads, ended.stdout.strip().split("\n"))}, ended.stderr


def seen_of(report, name):
    lines, errors = report
    line = lines.get(name)
    assert line, f"the program did not come to {name}:\n{errors[-8000:]}"
    assert "seen" in line, f"{line['failed']}\n{errors[-8000:]}"
    return line["seen"]


@pytest.fixture(scope="module")
def report(program, server):
    return features(program, "Conformance", DOMAIN=f"127.0.0.1:{server.port}", API_KEY=KEY, IMAGE=SMALL)


@pytest.fixture
def seen(report, request):
    """What the program saw of the feature that `@feature` names."""
    return seen_of(report, request.param)


def feature(name):
    return pytest.mark.parametrize("seen", [name], indirect=True)


def test_every_feature_has_its_test(report):
    tested = set(re.findall(r'^@feature\("([^"]+)"\)$', Path(__file__).read_text(), re.MULTILINE))
    assert tested == set(report[0])


def test_every_event_is_understood(report):
    """The SDK drops what it cannot read, and tells only its log."""
    assert "Failed to parse" not in report[1]


# ---- the life of a sandbox


@feature("life.info")
def test_info(seen):
    assert seen == {"same id": True, "state": "Running", "metadata": {"team": "java"}, "image": SMALL, "seconds": 600,
                    "entrypoint": ["tail", "-f", "/dev/null"], "healthy": True}


@feature("life.metrics")
def test_metrics(seen):
    assert seen["cpu"] == 1 and seen["memory"] == 512
    assert 0 < seen["memory used"] < 512 and 0 <= seen["cpu used"] <= 100
    assert seen["age ms"] < 60000


@feature("life.endpoint")
def test_endpoint(seen):
    assert seen == {"status": 200, "body": "from inside\n"}


@feature("life.renew")
def test_renew(seen):
    """From ten minutes after the creation to thirty minutes from now."""
    assert 1200 <= seen["later s"] < 1260


@feature("life.connect")
def test_connect(seen):
    assert seen == {"stdout": ["hello"]}


@feature("life.list")
def test_list(seen):
    assert seen == {"found": [True], "page": 1, "total": 1, "next": False, "paused": 0}


@feature("life.pause")
def test_pause_and_resume(seen):
    assert seen == {"paused": "Paused", "resumed": "Running", "stdout": ["awake"]}


@feature("life.kill")
def test_kill(seen):
    assert seen == {"state": "Running", "gone": {"status": 404, "code": "DOCKER::SANDBOX_NOT_FOUND"}}


@feature("life.refused")
def test_refusals_of_the_server(seen):
    assert seen == {"image": {"status": 404, "code": "DOCKER::SANDBOX_IMAGE_PULL_FAILED"},
                    "id": {"status": 404, "code": "DOCKER::SANDBOX_NOT_FOUND"},
                    "key": {"status": 401, "code": "INVALID_API_KEY"}}


# ---- commands


@feature("commands.run")
def test_command(seen):
    assert seen["kinds"] == ["init", "stdout hello", "stderr bad", "complete"]
    assert seen["stdout"] == ["hello"] and seen["stderr"] == ["bad"] and seen["error"] is None
    assert re.fullmatch("[0-9a-f]{32}", seen["id"])


@feature("commands.as it happens")
def test_command_output_as_it_happens(seen):
    assert seen == {"stdout": ["waiting", "went"], "error": None}


@feature("commands.exit code")
def test_command_exit_code(seen):
    assert seen == {"stdout": ["before"], "name": "CommandExecError", "value": "42"}


@feature("commands.folder")
def test_command_folder(seen):
    assert seen == {"stdout": ["/usr/bin"]}


@feature("commands.text")
def test_command_text(seen):
    """One message per line, without its end; a blank line is "\\n" (contracts/v1.1.md 1.2)."""
    assert seen == {"stdout": ["héllo € 😀", "\n", "  two\tthree", "no end"]}


@feature("commands.much output")
def test_command_much_output(seen):
    assert seen == {"lines": 100000, "sum": 5000050000}


@feature("commands.background")
def test_command_in_the_background(seen):
    assert re.fullmatch("[0-9a-f]{32}", seen["id"])
    assert seen["early"] and seen["late"] == ["done"]


@feature("commands.interrupt")
def test_command_interrupt(seen):
    assert seen == {"name": "CommandExecError", "left": ["0"]}


@feature("commands.silence")
def test_command_silent_for_long(seen):
    assert seen == {"stdout": ["end"], "error": None}


@feature("commands.refused")
def test_command_refused(seen):
    assert seen == {"folder": {"status": 400, "code": "INVALID_REQUEST_BODY"}, "id": {"status": 500, "code": "RUNTIME_ERROR"}}


# ---- files


@feature("files.write and read")
def test_files_write_and_read(seen):
    assert seen == {"text": "héllo €\nworld\n", "bytes are the same": True, "range is right": True, "empty": "",
                    "replaced": "shorter"}


@feature("files.streams")
def test_files_as_streams(seen):
    assert seen == {"bytes are the same": True}


@feature("files.info")
def test_files_info(seen):
    assert seen.pop("age s") < 60
    assert seen == {"path": "/workspace/java/info.txt", "size": 13, "mode": 600, "owner": "root", "group": "root",
                    "has birth": True}


@feature("files.folders")
def test_folders(seen):
    assert seen == {"mode": 750, "gone": {"status": 404, "code": "FILE_NOT_FOUND"}}


@feature("files.search")
def test_files_search(seen):
    assert seen == {"texts": ["/workspace/java/found/a.txt", "/workspace/java/found/deep/b.txt"], "none": []}


@feature("files.move and delete")
def test_files_move_and_delete(seen):
    gone = {"status": 404, "code": "FILE_NOT_FOUND"}
    assert seen == {"moved": "moved", "source": gone, "deleted": gone}


@feature("files.permissions")
def test_files_permissions(seen):
    assert seen == {"mode": 600, "owner": "nobody", "group": "root"}


@feature("files.replace")
def test_files_replace(seen):
    assert seen == {"text": "three two three"}


@feature("files.refused")
def test_files_refused(seen):
    gone = {"status": 404, "code": "FILE_NOT_FOUND"}
    assert seen["read"] == seen["search"] == gone
    assert seen["range"]["status"] == 416


# ---- code


@feature("code.run")
def test_code(seen):
    assert seen["language"] == "python" and seen["has id"]
    assert seen["stdout"] == ["out\n"] and seen["results"] == ["42"] and seen["count"] == 1 and seen["error"] is None
    assert seen["rich"] == ["<IPython.core.display.JSON object>", "<IPython.core.display.HTML object>"]


@feature("code.contexts")
def test_code_contexts(seen):
    assert seen == {"first": ["'first'"], "second": ["'second'"], "default": ["False"]}


@feature("code.error")
def test_code_error(seen):
    assert seen["stdout"] == ["before\n"]
    assert (seen["name"], seen["value"]) == ("ZeroDivisionError", "division by zero")
    assert "ZeroDivisionError" in seen["traceback"]


@feature("code.handlers")
def test_code_handlers(seen):
    assert seen == {"kinds": ["init", "stdout a\n", "stderr b\n", "result 2", "complete"]}


@feature("code.interrupt")
def test_code_interrupt(seen):
    assert seen == {"name": "KeyboardInterrupt", "after": ["5"]}


@feature("code.bash")
def test_code_bash(seen):
    assert seen == {"stdout": ["kept\n"]}


@feature("code.refused")
def test_code_refused(seen):
    assert seen["language"].startswith("404 ")
    assert seen["interrupt"].startswith("500 ") and "RUNTIME_ERROR" in seen["interrupt"]


@pytest.fixture(scope="module")
def languages_report(program, tmp_path_factory):
    if os.geteuid() != 0:
        pytest.skip("images are built and entered by root")
    with languages.start(languages.unpacked(), tmp_path_factory.mktemp("l"), "--kernel-pool", "0") as execd:
        return features(program, "Languages", BASE=f"http://127.0.0.1:{execd.port}", TOKEN=TOKEN)


@pytest.mark.parametrize("language, error", [("python", "ValueError"), ("java", "java.lang.IllegalStateException"),
                                             ("typescript", "TypeError"), ("javascript", "RangeError"), ("go", "panic")])
def test_code_of_each_language(languages_report, language, error):
    seen = seen_of(languages_report, language)
    assert "bad" in seen.pop("value")
    assert seen == {"language": language, "results": ["2"], "stdout": "hi\n", "name": error, "interrupted": True, "after": ["2"]}


# ---- what is allowed but rare


@feature("edges.names")
def test_odd_names_of_files(seen):
    names = ["with blank", "ä€😀", "a+b&c=d%20e", "#hash?", "quote\"and'", "semi;colon", "-dash"]
    assert seen["read"] == names and sorted(seen["found"]) == sorted(names)
    assert seen["info"] == [len(name.encode()) for name in names]
    assert seen["left"] == ["?hash#"]


@feature("edges.owner")
def test_owner_of_what_is_written(seen):
    assert seen == {"stdout": ["750 nobody nogroup"]}


@feature("edges.long line")
def test_long_line(seen):
    assert seen == {"length": 3000003, "last": "end"}


@feature("edges.no text")
def test_output_that_is_no_text(seen):
    assert re.fullmatch("a�b\0c�+", "".join(seen["stdout"]))


@feature("edges.ends of lines")
def test_ends_of_lines(seen):
    assert seen == {"stdout": ["crlf", "cr", "middle of\x85a line", "\n", "\n", "end"]}


@feature("edges.many at a time")
def test_many_at_a_time(seen):
    assert seen == {"right": 16}


@feature("edges.metadata")
def test_metadata_and_environment(seen):
    assert seen == {"metadata": {"a.b/c-d": "x_1.y-2", "plain": "v"}, "found": [True], "env": ["a=b c\"d'e€", "f"]}


@feature("edges.pages")
def test_pages(seen):
    assert seen == {"page 1": [1, 2, 2, True], "page 2": [1, 2, 2, False], "page 3": [0, 2, 2, False]}


@feature("edges.entrypoint ends")
def test_sandbox_whose_program_ends(seen):
    assert seen == {"state": "Failed", "message": "Sandbox container exited with code 3."}


@feature("edges.refused")
def test_refusals_of_the_server_with_reasons(seen):
    assert seen == {"timeout": {"status": 422, "code": "SANDBOX::INVALID_PARAMETER"},
                    "resource": {"status": 400, "code": "SANDBOX::INVALID_PARAMETER"},
                    "renewal": {"status": 400, "code": "DOCKER::INVALID_EXPIRATION"},
                    "never ready": "READY_TIMEOUT", "left of it": 0}
