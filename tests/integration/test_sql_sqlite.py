"""SQL on SQLite, which is the default: real statements, their results, their errors and their end."""

import concurrent.futures
import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading

import pytest

from harness.execd import EXECD, Leaks, children, eventually, sse_events
from harness.patience import PATIENCE_S
from harness.sql import error_of, notes, post, results, rows, run
from harness.stopped import stopped

# The interpreter itself: a shim in front of it takes longer than all the rest.
PYTHON = {"PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}"}
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT count(*) FROM n"


@pytest.fixture
def agent(start_execd, tmp_path):
    agent = start_execd("--sql", "sqlite:data/base.db", env=PYTHON)
    agent.base = agent.folder / "data" / "base.db"
    agent.base.parent.mkdir()
    return agent


def test_a_result_has_text_and_types(agent):
    events = run(agent, "SELECT 1 AS one, 'ü😀' AS word, NULL AS void, 2.5 AS part, x'00ff' AS raw")
    assert [event["type"] for event in events] == ["init", "execution_count", "result", "execution_complete"]
    assert events[1]["execution_count"] == 1
    text, typed = results(events)[0]
    assert text == {"columns": ["one", "word", "void", "part", "raw"], "rows": [["1", "ü😀", None, "2.5", "0x00FF"]]}
    assert typed == {"columns": ["one", "word", "void", "part", "raw"], "rows": [[1, "ü😀", None, 2.5, "0x00FF"]]}


def test_names_of_columns_are_bounded(agent):
    error = error_of(run(agent, f'SELECT 1 AS "{"x" * (1 << 20)}y"'))
    assert (error["ename"], error["evalue"]) == ("DBQueryError", "Error 18 (HY000): the names of the columns are too long")
    assert rows(agent, f'SELECT 1 AS "{"x" * 100_000}"') == [["1"]]


def test_what_is_committed_stays_in_the_file(agent):
    assert rows(agent, "CREATE TABLE t (a INTEGER, b TEXT)") == [[0]]
    assert rows(agent, "INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, 'z')") == [[3]]
    assert rows(agent, "UPDATE t SET b = b || '!' WHERE a > 1") == [[2]]
    assert rows(agent, "DELETE FROM t WHERE a = 3") == [[1]]
    assert rows(agent, "SELECT * FROM t ORDER BY a") == [["1", "x"], ["2", "y!"]]
    with sqlite3.connect(agent.base) as base:
        assert base.execute("SELECT count(*) FROM t").fetchall() == [(2,)]


def test_every_statement_has_its_result(agent):
    events = run(agent, "CREATE TABLE t (a); -- a comment; with a semicolon\n"
                        "INSERT INTO t VALUES ('a;b');; /* nothing */ ; SELECT a FROM t; EXPLAIN SELECT 1; VALUES (7)")
    found = [text for text, _ in results(events)]
    assert found[:3] == [{"columns": ["affected_rows"], "rows": [[0]]}, {"columns": ["affected_rows"], "rows": [[1]]},
                         {"columns": ["a"], "rows": [["a;b"]]}]
    assert found[3]["columns"][0] == "addr" and found[4]["rows"] == [["7"]]


def test_a_trigger_is_one_statement(agent):
    run(agent, "CREATE TABLE t (a); CREATE TABLE log (a); CREATE TRIGGER r AFTER INSERT ON t BEGIN "
               "INSERT INTO log VALUES (new.a); INSERT INTO log VALUES (new.a + 1); END;")
    assert rows(agent, "INSERT INTO t VALUES (1); SELECT a FROM log") == [["1"], ["2"]]


def test_no_rows_are_a_result_too(agent):
    assert results(run(agent, "SELECT 1 AS a WHERE 0"))[0][0] == {"columns": ["a"]}


def test_nothing_but_comments_is_no_error(agent):
    assert [event["type"] for event in run(agent, "-- nothing\n /* at all */;")] == ["init", "execution_complete"]


@pytest.mark.parametrize("text, ename, state, words", [
    ("SELEKT 1", "DBExecError", "42000", "syntax error"),
    ("SELECT * FROM missing", "DBQueryError", "42S02", "no such table: missing"),
    ("SELECT missing", "DBQueryError", "42S22", "no such column"),
    ("DROP TABLE missing", "DBExecError", "42S02", "no such table"),
    ("CREATE TABLE u (a UNIQUE); INSERT INTO u VALUES (1), (1)", "DBExecError", "23000", "UNIQUE"),
])
def test_an_error_has_a_name_and_a_state(agent, text, ename, state, words):
    error = error_of(run(agent, text))
    assert error["ename"] == ename and f"({state})" in error["evalue"] and words in error["evalue"]
    assert error["traceback"] == [error["evalue"]]


def test_an_error_ends_the_run_and_keeps_what_came_before(agent):
    events = run(agent, "CREATE TABLE t (a); INSERT INTO t VALUES (1); SELECT nothing; INSERT INTO t VALUES (2)")
    assert len(results(events)) == 2 and error_of(events)
    assert rows(agent, "SELECT a FROM t") == [["1"]]


def test_an_open_transaction_is_rolled_back_and_said(agent):
    events = run(agent, "CREATE TABLE t (a); BEGIN; INSERT INTO t VALUES (1)")
    assert "rolled back" in notes(events)
    assert rows(agent, "SELECT count(*) FROM t") == [["0"]]


def numbers(n, column="i"):
    return f"WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {n}) SELECT {column} FROM n"


def test_a_huge_result_is_cut_and_says_so(agent):
    events = run(agent, numbers(10_000) + ";" + numbers(100_000) + ";" + numbers(9, "zeroblob(300000)") + "; SELECT 'on'")
    whole, many, wide, last = [text for text, _ in results(events)]
    assert len(whole["rows"]) == 10_000 and "truncated" not in whole
    assert len(many["rows"]) == 10_000 and many["truncated"] is True
    assert len(wide["rows"]) == 1 and wide["truncated"] is True
    assert last["rows"] == [["on"]]
    assert notes(events).count("only the first") == 2


def test_one_value_larger_than_a_result_is_left_out(agent):
    text, _ = results(run(agent, "SELECT zeroblob(50000000)"))[0]
    assert text == {"columns": ["zeroblob(50000000)"], "truncated": True}


def test_text_that_is_no_text_is_repaired(agent):
    assert rows(agent, "SELECT CAST(x'ff61' AS TEXT), 'a' || char(0) || 'b', 9e999") == [["\ufffda", "a\ufffdb", "inf"]]


def in_background(function, *arguments):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    return future


def start_endless(agent, text=ENDLESS):
    """The run's id and its events to come."""
    seen, began = [], threading.Event()

    def follow():
        body = {"code": text, "context": {"language": "sql"}}
        with agent.new_client().stream("POST", "/code", json=body, timeout=60) as response:
            for chunk in response.iter_text():
                seen.append(chunk)
                began.set()
        return sse_events("".join(seen))

    future = in_background(follow)
    assert began.wait(20)
    return sse_events(seen[0])[0]["text"], future


def test_an_interrupt_ends_the_statement(agent):
    run_id, future = start_endless(agent, "CREATE TABLE t (a); INSERT INTO t VALUES (1);" + ENDLESS)
    assert agent.client.delete("/code", params={"id": run_id}).status_code == 200
    events = future.result(PATIENCE_S)
    assert error_of(events)["ename"] == "DBQueryError" and events[-1]["receipt"]["reason"] == "cancelled"
    again = agent.client.delete("/code", params={"id": run_id})
    assert (again.status_code, again.json()["code"]) == (500, "RUNTIME_ERROR")


def test_a_timeout_ends_the_statement(agent):
    body = {"code": ENDLESS, "timeout": 300, "context": {"language": "sql"}}
    events = sse_events(agent.client.post("/code", json=body, timeout=30).text)
    assert error_of(events)["evalue"] == "timeout after 300 ms" and events[-1]["receipt"]["reason"] == "timeout"


def test_an_end_that_is_seen_behind_the_time_limit_is_no_timeout(agent):
    """The program says all and ends while execd is stopped."""
    agent.stalls_matter = False
    rows(agent, "CREATE TABLE t (a)")
    body = {"code": "INSERT INTO t VALUES (1); SELECT a FROM t", "timeout": 800, "context": {"language": "sql"}}
    with sqlite3.connect(agent.base, isolation_level=None) as base:
        base.execute("BEGIN EXCLUSIVE")
        future = concurrent.futures.ThreadPoolExecutor(1).submit(agent.client.post, "/code", json=body)
        ((program, _),) = eventually(lambda: children(agent.pid))
        with stopped(agent.pid, 1.3):
            base.execute("ROLLBACK")
            eventually(lambda: all(pid != program or state == "Z" for pid, state in children(agent.pid)))
    events = sse_events(future.result().text)
    assert events[-1]["type"] == "execution_complete", events
    assert events[-1]["receipt"]["reason"] == "exit" and results(events)[-1][0]["rows"] == [["1"]]


def test_statements_have_no_standard_input(agent):
    refused = agent.client.post("/code", json={"code": "SELECT 1", "stdin": "x", "context": {"language": "sql"}})
    assert (refused.status_code, refused.json()["code"]) == (501, "NOT_SUPPORTED")


def test_runs_are_parallel_and_bounded(agent):
    running = [start_endless(agent) for _ in range(16)]
    refused = post(agent, "SELECT 1")
    assert (refused.status_code, refused.json()["code"]) == (503, "SERVICE_UNAVAILABLE")
    for run_id, _ in running:
        assert agent.client.delete("/code", params={"id": run_id}).status_code == 200
    assert {future.result(PATIENCE_S)[-1]["type"] for _, future in running} == {"error"}
    assert rows(agent, "SELECT 1") == [["1"]]


def test_a_run_can_be_seen_again(agent):
    first = post(agent, "SELECT 6 * 7")
    again = agent.client.get(f"/command/{first.headers['x-execd-run-id']}/stream")
    assert results(sse_events(again.text)) == results(sse_events(first.text))


@pytest.mark.parametrize("method, path", [("POST", "/code/context"), ("GET", "/code/contexts?language=sql"),
                                          ("DELETE", "/code/contexts?language=sql")])
def test_there_are_no_contexts_of_sql(agent, method, path):
    answer = agent.client.request(method, path, json={"language": "sql"} if method == "POST" else None)
    assert (answer.status_code, answer.json()["code"]) == (500, "RUNTIME_ERROR")
    assert "unsupported language context operation: sql" in answer.json()["message"]


def test_a_base_that_cannot_be_opened_is_an_error(start_execd, tmp_path):
    (tmp_path / "file").write_text("")
    agent = start_execd("--sql", f"sqlite:{tmp_path}/file/base.db", env=PYTHON)
    error = error_of(run(agent, "SELECT 1"))
    assert error["ename"] == "DBInitError" and "file" in error["evalue"]
    (tmp_path / "file").unlink()
    error = error_of(run(agent, "SELECT 1"))
    assert f"there is no folder '{tmp_path}/file'" in error["evalue"] and not (tmp_path / "file").exists()
    (tmp_path / "file").mkdir()
    assert rows(agent, "SELECT 1") == [["1"]]


def test_the_folder_of_the_usual_base_is_made(start_execd):
    agent = start_execd(env=PYTHON)
    assert rows(agent, "SELECT 1") == [["1"]]
    assert (agent.folder / ".opensandbox/sandbox.db").exists()


def test_a_file_that_is_no_base_is_an_error(agent):
    agent.base.write_text("no database" * 1000)
    assert "not a database" in error_of(run(agent, "SELECT * FROM t"))["evalue"]


def test_without_python_it_says_so(start_execd, tmp_path):
    agent = start_execd(env={"PATH": str(tmp_path)})
    error = error_of(run(agent, "SELECT 1"))
    assert error["ename"] == "DBInitError" and "python3" in error["evalue"]


def liar(tmp_path, script):
    program = tmp_path / "bin" / "python3"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{script}")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    return {"PATH": str(program.parent)}


@pytest.mark.parametrize("script, words", [
    ("print('no json', flush=True)", "broke its protocol"),
    ("print('{\"row\": [1]}', flush=True)", "broke its protocol"),
    ("print('{\"columns\": [1]}', flush=True)", "broke its protocol"),
    ("print('{\"columns\": [\"a\"]}\\n{\"row\": [{}]}', flush=True)", "broke its protocol"),
    ("print('{\"done\": true}\\n{\"note\": \"more\"}', flush=True)", "broke its protocol"),
    ("while True: print('x' * 65536, end='', flush=True)", "broke its protocol"),
    ("raise SystemExit(3)", "exit status 3"),
    ("import os; os.kill(os.getpid(), 9)", "signal: killed"),
])
def test_a_program_that_lies_breaks_only_its_run(start_execd, tmp_path, script, words):
    agent = start_execd(env=liar(tmp_path, script))
    error = error_of(run(agent, "SELECT 1"))
    assert words in error["evalue"], error
    assert agent.client.get("/ping").status_code == 200


def test_a_program_that_heeds_nothing_is_killed(start_execd, tmp_path):
    script = ("import os, signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN)\n"
              "print('{\"affected\": 1}', flush=True)\nos.close(1)\ntime.sleep(600)")
    agent = start_execd(env=liar(tmp_path, script))
    assert error_of(run(agent, "SELECT 1"))["ename"] == "DBQueryError"


def test_nothing_is_left_behind(agent):
    run(agent, "SELECT 1")
    leaks = Leaks(agent)
    for _ in range(10):
        run(agent, "SELECT 1")
        run(agent, "SELECT nothing")
    leaks.check()


def test_a_shutdown_ends_the_run(agent):
    _, future = start_endless(agent)
    os.kill(agent.pid, signal.SIGTERM)
    events = future.result(PATIENCE_S)
    assert events[-1]["type"] == "error" and events[-1]["receipt"]["reason"] == "agent_shutdown"


@pytest.mark.parametrize("source", ["postgres://user:secret@host/x", "sqlite:", "base.db"])
def test_a_bad_source_ends_the_start(tmp_path, source):
    ended = subprocess.run([str(EXECD), "--insecure", "--listen", f"unix:{tmp_path}/socket", "--sql", source],
                           capture_output=True, text=True, timeout=10)
    assert ended.returncode == 2 and "sqlite:PATH" in ended.stderr and "secret" not in ended.stderr, ended.stderr
