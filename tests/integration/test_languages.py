"""Every language of the code-interpreter image, by its real kernel: the same events whatever the kernel does.

execd runs inside the unpacked image (harness/languages.py); each language has one kernel for all its tests.
"""

import json
import os
import time
from dataclasses import dataclass

import pytest

from harness import languages
from harness.execd import eventually, output_of
from harness.kernels import error_of, in_background, results, run
from harness.patience import PATIENCE_S

pytestmark = [pytest.mark.timeout(300), pytest.mark.root]


@dataclass
class Language:
    name: str
    result: tuple  # code, text of its result
    say: str       # prints "hi ü"
    keep: tuple    # code that sets a variable, code whose result it is, that text
    fail: tuple    # code, ename, part of evalue
    wrong: tuple   # code that does not compile, part of the error
    loop: str
    die: tuple     # code, what the end is called
    raw: tuple = ()  # code that writes past the kernel, stdout, stderr
    interrupted: tuple = ("KeyboardInterrupt",)

    def __str__(self):
        return self.name


LANGUAGES = [
    Language("python", ("6 * 7", "42"), "print('hi ü')", ("x = 40", "x + 2", "42"),
             ("raise ValueError('bad')", "ValueError", "bad"), ("x = = 1", "SyntaxError"), "while True: pass",
             ("import os; os._exit(3)", "exit status 3"),
             ("import os; os.system('echo out; echo err >&2')", "out\n", "err\n")),
    Language("typescript", ("6 * 7", "42"), "console.log('hi ü')", ("let x: number = 40", "x + 2", "42"),
             ("throw new TypeError('bad')", "TypeError", "bad"), ("const q: number = 's'", "not assignable"),
             "while (true) {}", ("process.exit(3)", "exit status 3"),
             ("require('child_process').execSync('echo out; echo err >&2', {stdio: 'inherit'}); undefined", "out\n", "err\n"),
             interrupted=("Error",)),
    Language("javascript", ("6 * 7", "42"), "console.log('hi ü')", ("let x = 40", "x + 2", "42"),
             ("throw new RangeError('bad')", "RangeError", "bad"), ("f(", "expected"),
             "while (true) {}", ("process.exit(3)", "exit status 3"), interrupted=("Error",)),
    # What it writes to Deno.stdout itself, deno 2.9 loses on its way; of code that does not compile it says no more.
    Language("deno", ("6 * 7", "42"), "console.log('hi ü')", ("let x: number = 40", "x + 2", "42"),
             ("throw new TypeError('bad')", "TypeError", "bad"), ("let y = ;", "Execution failed"),
             "while (true) {}", ("Deno.exit(3)", "exit status 3"),
             interrupted=("Error",)),
    Language("java", ("6 * 7", "42"), 'System.out.println("hi ü")', ("int x = 40;", "x + 2", "42"),
             ('throw new IllegalStateException("bad");', "java.lang.IllegalStateException", "bad"),
             ('int q = "s";', "incompatible types"), "while (true) {}", ("System.exit(3)", "exit status 3"),
             ('new ProcessBuilder("sh", "-c", "echo out; echo err >&2").inheritIO().start().waitFor();', "out\n", "err\n"),
             interrupted=("KeyboardInterrupt", "EvaluationInterruptedException", "InterruptedException")),
    Language("R", ("6 * 7", "[1] 42"), "cat('hi ü\\n')", ("x <- 40", "x + 2", "[1] 42"),
             ("stop('bad')", "ERROR", "bad"), ("f(", "unexpected end of input"), "while (TRUE) {}",
             ("quit_hard <- tools::pskill(Sys.getpid(), 9)", "killed"),
             ("invisible(system('echo out; echo err >&2'))", "out\n", "err\n")),
    Language("go", ("6 * 7", "42"), 'import "fmt"\nfmt.Println("hi ü")', ("x := 40", "x + 2", "42"),
             ('panic("bad")', "panic", "bad"), ("undefined_name", "undefined"), "for {}",
             ('import "os"\nos.Exit(3)', "exit status 3"),
             ('import ("os"; "os/exec")\nc := exec.Command("sh", "-c", "echo out; echo err >&2")\n'
              'c.Stdout, c.Stderr = os.Stdout, os.Stderr\nc.Run()\nfunc() {}()', "out\n", "err\n")),
]
EACH = pytest.mark.parametrize("language", LANGUAGES, ids=str)


@pytest.fixture(scope="module")
def root():
    if os.geteuid() != 0:
        pytest.skip("images are built and entered by root")
    return languages.unpacked()


@pytest.fixture(scope="module")
def agent(root, tmp_path_factory):
    with languages.start(root, tmp_path_factory.mktemp("l"), "--kernel-pool", "0") as execd:
        yield execd


@pytest.fixture(scope="module")
def context_of(agent):
    """The one context of a language; a new one when its kernel has died."""
    known = {}

    def get(language):
        if language.name in known:
            response = agent.client.get(f"/code/contexts/{known[language.name]}")
            if response.status_code == 200 and response.json()["state"] != "dead":
                return known[language.name]
        response = agent.client.post("/code/context", json={"language": language.name}, timeout=60)
        assert response.status_code == 200, response.text
        known[language.name] = response.json()["id"]
        return known[language.name]

    return get


@pytest.fixture
def cell(agent, context_of):
    return lambda language, code: run(agent, code, language.name, context_of(language))


def ended(events):
    assert events[-1]["type"] == "execution_complete", events
    return events


@EACH
def test_a_result_is_a_result(cell, language):
    code, text = language.result
    events = ended(cell(language, code))
    assert [result["text"] for result in results(events)] == [text]
    assert output_of(events) == output_of(events, "stderr") == ""
    counts = [event["execution_count"] for event in events if event["type"] == "execution_count"]
    assert len(counts) == 1 and counts[0] >= 1


@EACH
def test_output_is_output_in_any_script(cell, language):
    events = ended(cell(language, language.say))
    assert output_of(events) == "hi ü\n" and results(events) == []


@EACH
def test_variables_stay(cell, language):
    declare, use, text = language.keep
    assert results(ended(cell(language, declare))) == []
    assert [result["text"] for result in results(ended(cell(language, use)))] == [text]


@EACH
def test_an_error_has_its_name_and_the_next_run_works(cell, language):
    code, ename, evalue = language.fail
    for _ in range(2):
        events = cell(language, code)
        error = error_of(events)
        assert error["ename"] == ename and evalue in error["evalue"] and error["evalue"].strip() == error["evalue"]
        assert any(evalue in line for line in error["traceback"])
        code_of_result, text = language.result
        assert results(ended(cell(language, code_of_result)))[0]["text"] == text


@EACH
def test_what_does_not_compile_is_an_error(cell, language):
    code, words = language.wrong
    error = error_of(cell(language, code))
    assert words in " ".join([error["ename"], error["evalue"], *error["traceback"]])


@pytest.mark.parametrize("language", [row for row in LANGUAGES if row.raw], ids=str)
def test_writes_past_the_kernel_are_output_of_the_run(cell, language):
    code, out, err = language.raw
    for _ in range(3):  # it must not arrive in the next one
        events = ended(cell(language, code))
        assert (output_of(events), output_of(events, "stderr")) == (out, err)


@EACH
def test_an_endless_loop_is_interrupted_and_variables_stay(agent, cell, context_of, language):
    declare, use, text = language.keep
    context = context_of(language)
    cell(language, declare)
    future = in_background(run, agent, language.loop, language.name, context)
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "busy")
    time.sleep(0.3)  # busy in execd's eyes comes before busy in the kernel's
    assert agent.client.delete("/code", params={"id": context}).status_code == 200
    error = error_of(future.result(PATIENCE_S))
    assert error["ename"].rpartition(".")[2] in language.interrupted, error
    assert context_of(language) == context
    assert results(ended(cell(language, use)))[0]["text"] == text


@EACH
def test_a_kernel_that_ends_is_told_and_another_one_comes(cell, context_of, language):
    before = context_of(language)
    code, words = language.die
    error = error_of(cell(language, code))
    assert error["ename"] == "KernelDied" and words in error["evalue"]
    assert results(ended(cell(language, language.result[0])))[0]["text"] == language.result[1]
    assert context_of(language) != before


def test_a_language_that_is_not_there_is_named_with_those_that_are(agent):
    response = agent.client.post("/code/context", json={"language": "cobol"})
    assert (response.status_code, response.json()["code"]) == (404, "KERNELSPEC_NOT_FOUND")
    for word in ("go", "java", "javascript", "python", "R", "typescript", "/etc/opensandbox/kernelspecs"):
        assert word in response.json()["message"]


def test_a_pending_await_is_ended_soon_with_its_kernel(agent, cell, context_of):
    deno = next(row for row in LANGUAGES if row.name == "deno")
    context = context_of(deno)
    future = in_background(run, agent, "await new Promise(() => setInterval(() => {}, 1000))", "deno", context)
    eventually(lambda: agent.client.get(f"/code/contexts/{context}").json()["state"] == "busy")
    time.sleep(0.3)
    assert agent.client.delete("/code", params={"id": context}).status_code == 200
    assert "did not react to an interrupt" in error_of(future.result(PATIENCE_S))["evalue"]


def test_a_spec_dropped_into_the_folder_for_it_works_at_once(root, agent):
    """As its maker ships it: deno's, without a word for execd."""
    folder = root / "etc/opensandbox/kernelspecs/dropped"
    folder.mkdir(parents=True)
    try:
        (folder / "kernel.json").write_text(json.dumps({
            "argv": ["/usr/local/bin/deno", "jupyter", "--kernel", "--conn", "{connection_file}"],
            "display_name": "Dropped", "language": "dropped", "env": {"NO_COLOR": "1"}}))
        assert results(ended(run(agent, "6 * 7", "dropped")))[0]["text"] == "42"
    finally:
        (folder / "kernel.json").unlink()
        folder.rmdir()


def test_tslab_as_its_maker_ships_it_has_clean_errors(root, agent):
    folder = root / "etc/opensandbox/kernelspecs/plain-tslab"
    folder.mkdir(parents=True)
    try:
        (folder / "kernel.json").write_text(json.dumps({
            "argv": ["/usr/local/lib/node_modules/tslab/bin/tslab", "kernel", "--config-path={connection_file}"],
            "display_name": "TypeScript", "language": "plain-tslab"}))
        error = error_of(run(agent, "throw new TypeError('bad')", "plain-tslab"))
        assert (error["ename"], error["evalue"]) == ("TypeError", "bad")
        assert output_of(ended(run(agent, "6 * 7", "plain-tslab"))) == "42\n"
        error = error_of(run(agent, "const q: number = 's'", "plain-tslab"))
        assert "not assignable" in error["evalue"]
    finally:
        (folder / "kernel.json").unlink()
        folder.rmdir()
