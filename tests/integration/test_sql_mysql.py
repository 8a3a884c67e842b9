"""SQL on MySQL and MariaDB: a real server, and ones that lie."""

import concurrent.futures
import hashlib
import os
import socket
import struct
import subprocess
import threading
from pathlib import Path
from urllib.parse import quote

import pytest

from harness.execd import EXECD, Leaks, eventually, sse_events
from harness.mariadb import PASSWORD, MariaDB, is_there
from harness.patience import PATIENCE_S
from harness.sql import error_of, notes, results, rows, run

SECRET = quote(PASSWORD, safe="")


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    if not is_there():
        pytest.skip("no MariaDB below build/deps: run `make setup`")
    server = MariaDB(tmp_path_factory.mktemp("mariadb"))
    yield server
    server.stop()


@pytest.fixture
def agent(start_execd, server, request):
    base = f"t{abs(hash(request.node.name))}"
    return start_execd("--sql", f"mysql://user:{SECRET}@127.0.0.1:{server.port}/{base}")


@pytest.mark.parametrize("source", ["mysql://user:{secret}@127.0.0.1:{port}", "mariadb://user:{secret}@localhost:{port}/",
                                    "mysql://user:{secret}@/?socket={socket}", "mysql://root@/sandbox?socket={socket}"])
def test_every_way_to_the_server(start_execd, server, source):
    agent = start_execd("--sql", source.format(secret=SECRET, port=server.port, socket=server.socket))
    assert rows(agent, "SELECT DATABASE(), 6 * 7") == [["sandbox", "42"]]


def test_a_result_has_text_and_types(agent):
    text, typed = results(run(agent, "SELECT 1 AS one, 'ü😀' AS word, NULL AS void, 2.5e0 AS part, 1.10 AS exact, x'00ff' AS raw,"
                                     " 18446744073709551615 AS big, DATE '2020-01-02' AS day, CONCAT('a', CHAR(0), 'b') AS nul"))[0]
    assert text["rows"] == [["1", "ü😀", None, "2.5", "1.10", "0x00FF", "18446744073709551615", "2020-01-02", "0x610062"]]
    assert typed["rows"] == [[1, "ü😀", None, 2.5, "1.10", "0x00FF", "18446744073709551615", "2020-01-02", "0x610062"]]
    assert text["columns"] == typed["columns"] == ["one", "word", "void", "part", "exact", "raw", "big", "day", "nul"]


def test_changes_tell_how_many_rows(agent):
    events = run(agent, "CREATE TABLE t (a INT PRIMARY KEY, b TEXT); INSERT INTO t VALUES (1, 'x'), (2, 'y'), (3, NULL);"
                        "UPDATE t SET b = 'z' WHERE a > 1; DELETE FROM t WHERE a = 3; SELECT * FROM t; SHOW TABLES;")
    assert events[-1]["type"] == "execution_complete" and [e["type"] for e in events].count("execution_count") == 1
    found = [text for text, _ in results(events)]
    assert [text["rows"] for text in found[:4]] == [[[0]], [[3]], [[2]], [[1]]]
    assert found[4] == {"columns": ["a", "b"], "rows": [["1", "x"], ["2", "z"]]} and found[5]["rows"] == [["t"]]
    assert rows(agent, "SELECT COUNT(*) FROM t") == [["2"]]
    assert results(run(agent, "SELECT a FROM t WHERE 0"))[0][0] == {"columns": ["a"]}


def test_a_procedure_has_all_its_results(agent):
    run(agent, "CREATE PROCEDURE p() BEGIN SELECT 1; SELECT 2; END")
    assert [text.get("rows") for text, _ in results(run(agent, "CALL p()"))] == [[["1"]], [["2"]], [[0]]]


@pytest.mark.parametrize("text, ename, code, state", [
    ("SELEKT 1", "DBExecError", 1064, "42000"),
    ("SELECT * FROM missing", "DBQueryError", 1146, "42S02"),
    ("(SELECT missing)", "DBQueryError", 1054, "42S22"),
    ("DROP TABLE missing", "DBExecError", 1051, "42S02"),
    ("CREATE TABLE u (a INT UNIQUE); INSERT INTO u VALUES (1), (1)", "DBExecError", 1062, "23000"),
    ("LOAD DATA LOCAL INFILE '/etc/passwd' INTO TABLE t", "DBExecError", 4166, "HY000"),
])
def test_an_error_has_a_name_and_a_state(agent, text, ename, code, state):
    error = error_of(run(agent, text))
    assert error["ename"] == ename and error["evalue"].startswith(f"Error {code} ({state}): "), error
    assert error["traceback"] == [error["evalue"]]


def test_an_open_transaction_is_rolled_back_and_said(agent):
    events = run(agent, "CREATE TABLE t (a INT); BEGIN; INSERT INTO t VALUES (1)")
    assert "rolled back" in notes(events)
    assert rows(agent, "SELECT COUNT(*) FROM t") == [["0"]]


def test_a_huge_result_is_cut_and_what_follows_comes(agent):
    events = run(agent, "SELECT seq FROM seq_1_to_10000; SELECT seq FROM seq_1_to_300000; SELECT REPEAT('x', 15000000);"
                        "SELECT REPEAT('y', 300000) FROM seq_1_to_9; SELECT 'on'")
    whole, many, wide, tall, last = [text for text, _ in results(events)]
    assert len(whole["rows"]) == 10_000 and "truncated" not in whole
    assert len(many["rows"]) == 10_000 and many["truncated"] is True
    assert "rows" not in wide and wide["truncated"] is True
    assert len(tall["rows"]) == 3 and tall["truncated"] is True
    assert last["rows"] == [["on"]] and notes(events).count("only the first") == 3


def test_a_text_longer_than_one_packet(agent):
    for length in (0xFFFFFD, 0xFFFFFE, 0xFFFFFF, 0x1000000):  # the last is the most that a run may have
        text = "SELECT LENGTH('{}')"
        n = length - len(text) + 2
        assert rows(agent, text.format("x" * n)) == [[str(n)]]


@pytest.mark.parametrize("source", ["mysql://user:wrong@127.0.0.1:{port}", "mysql://user@127.0.0.1:{port}",
                                    "mysql://nobody:x@/x?socket={socket}"])
def test_a_wrong_password_is_an_error(start_execd, server, source):
    agent = start_execd("--sql", source.format(port=server.port, socket=server.socket))
    error = error_of(run(agent, "SELECT 1"))
    assert error["ename"] == "DBInitError" and error["evalue"].startswith("Error 1045 (28000): Access denied")


def in_background(function, *arguments):
    pool = concurrent.futures.ThreadPoolExecutor(1)
    future = pool.submit(function, *arguments)
    pool.shutdown(wait=False)
    return future


def start_long(agent, text="SELECT SLEEP(60)"):
    seen, began = [], threading.Event()

    def follow():
        body = {"code": text, "context": {"language": "sql"}}
        with agent.new_client().stream("POST", "/code", json=body, timeout=60) as response:
            for chunk in response.iter_text():
                seen.append(chunk)
                began.set()
        return [event for event in sse_events("".join(seen)) if event["type"] != "ping"]

    future = in_background(follow)
    assert began.wait(20)
    return sse_events(seen[0])[0]["text"], future


def statements(agent):
    return [row[0] for row in rows(agent, "SELECT info FROM information_schema.processlist WHERE info LIKE 'SELECT %seq_1%'")
            if "processlist" not in row[0]]


LONG = "SELECT COUNT(*) FROM seq_1_to_100000 a, seq_1_to_100000 b WHERE a.seq + b.seq < 0"


def test_an_interrupt_ends_the_statement_on_the_server(agent):
    run_id, future = start_long(agent, LONG + "; SELECT 'never'")
    eventually(lambda: statements(agent))
    assert agent.client.delete("/code", params={"id": run_id}).status_code == 200
    events = future.result(PATIENCE_S)
    assert "(70100)" in error_of(events)["evalue"] and events[-1]["receipt"]["reason"] == "cancelled"
    assert results(events) == []
    eventually(lambda: not statements(agent))


def test_a_timeout_ends_the_statement_on_the_server(agent):
    body = {"code": LONG, "timeout": 300, "context": {"language": "sql"}}
    events = sse_events(agent.client.post("/code", json=body, timeout=30).text)
    assert error_of(events)["evalue"] == "timeout after 300 ms" and events[-1]["receipt"]["reason"] == "timeout"
    eventually(lambda: not statements(agent))


def test_the_death_of_the_server_is_an_error_and_its_return_is_enough(start_execd, tmp_path):
    if not is_there():
        pytest.skip("no MariaDB below build/deps: run `make setup`")
    server = MariaDB(tmp_path / "mortal")
    agent = start_execd("--sql", f"mysql://user:{SECRET}@127.0.0.1:{server.port}/x")
    try:
        rows(agent, "SELECT 1")
        _, future = start_long(agent, LONG)
        eventually(lambda: statements(agent))
        server.kill()
        error = error_of(future.result(PATIENCE_S))
        assert error["ename"] == "DBQueryError" and error["evalue"].startswith("Error 2013 (HY000): Lost connection")
        error = error_of(run(agent, "SELECT 1"))
        assert error["ename"] == "DBInitError" and error["evalue"].startswith("Error 2003 (HY000): Can't connect")
        server.start()
        assert rows(agent, "SELECT 1") == [["1"]]
    finally:
        server.stop()


def test_nothing_is_left_behind(agent):
    run(agent, "SELECT 1")
    leaks = Leaks(agent)
    for _ in range(8):
        run(agent, "SELECT 1")
        run(agent, "SELECT nothing")
    leaks.check()


def test_the_password_is_nowhere_to_be_read(start_execd, server):
    agent = start_execd(env={"EXECD_SQL_DSN": f"mysql://user:{SECRET}@127.0.0.1:{server.port}/x"})
    run_id, future = start_long(agent)
    pids = [agent.pid, *(int(pid) for pid in Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split())]
    assert len(pids) > 1
    for pid in pids:
        for name in ("cmdline", "environ"):
            assert SECRET.encode() not in Path(f"/proc/{pid}/{name}").read_bytes()
    output = agent.client.post("/command", json={"command": "env"}).text
    assert SECRET not in output and "EXECD_SQL" not in output
    agent.client.delete("/code", params={"id": run_id})
    future.result(PATIENCE_S)


@pytest.mark.parametrize("source", ["mysql://127.0.0.1/x", "mysql://user:secret@db.internal/x", "mysql://user:secret@/x",
                                    "mysql://user:secret@127.0.0.1:0/x", "mysql://user:secret@127.0.0.1/x?socket=/s",
                                    "mysql://user:secret%@127.0.0.1/x", "mysql://user:secret@/x?socket=relative",
                                    "mysql://user:secret@127.0.0.1/x?tls=true"])
def test_a_bad_source_ends_the_start(tmp_path, source):
    ended = subprocess.run([str(EXECD), "--insecure", "--listen", f"unix:{tmp_path}/socket", "--sql", source],
                           capture_output=True, text=True, timeout=10)
    assert ended.returncode == 2 and "mysql://USER" in ended.stderr and "secret" not in ended.stderr, ended.stderr


# ---- servers that lie ------------------------------------------------------------------------------

SCRAMBLE = bytes(range(1, 21))


def packet(number, body):
    return struct.pack("<I", len(body))[:3] + bytes([number]) + body


def greeting(plugin=b"mysql_native_password", version=10):
    return packet(0, bytes([version]) + b"8.0.0\0" + struct.pack("<I", 7) + SCRAMBLE[:8] + b"\0\xff\xf7\x2d\x02\0\xff\xff\x15"
                  + b"\0" * 10 + SCRAMBLE[8:] + b"\0" + plugin + b"\0")


OK = b"\0\0\0\2\0\0\0"


class Fake:
    """Accepts connections and says what the test wants, then closes."""

    def __init__(self, speak):
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.speak = speak
        self.seen = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(10)
                try:
                    self.speak(self, connection)
                except OSError:
                    pass

    def receive(self, connection):
        head = connection.recv(4, socket.MSG_WAITALL)
        body = connection.recv(int.from_bytes(head[:3], "little"), socket.MSG_WAITALL)
        self.seen.append(body)
        return body

    def logged_in(self, connection):
        """Until the first statement, which it takes."""
        connection.sendall(greeting())
        self.receive(connection)
        connection.sendall(packet(2, OK))
        self.receive(connection)
        connection.sendall(packet(1, OK))
        self.receive(connection)


def after_login(*packets):
    def speak(fake, connection):
        fake.logged_in(connection)
        connection.sendall(b"".join(packets))
    return speak


def instead_of_login(*packets):
    def speak(fake, connection):
        connection.sendall(b"".join(packets))
        fake.receive(connection)
    return speak


def login_then(*packets):
    def speak(fake, connection):
        connection.sendall(greeting())
        fake.receive(connection)
        connection.sendall(b"".join(packets))
        fake.receive(connection)
    return speak


COLUMN = b"\3def\0\0\0\1a\0\x0c\x2d\0\0\0\0\0\xfd\0\0\0\0\0"
LONG_COLUMN = COLUMN.replace(b"\1a\0", b"\xfc\0\x20" + b"a" * 8192 + b"\0")
END = b"\xfe\0\0\2\0"


@pytest.mark.parametrize("speak, words", [
    (instead_of_login(b"HTTP/1.1 400 Bad Request\r\n\r\n"), "Error 20"),
    (instead_of_login(greeting(version=9)), "Malformed"),
    (instead_of_login(packet(0, b"\x0a8.0")), "Malformed"),
    (instead_of_login(packet(3, b"")), "Malformed"),
    (instead_of_login(packet(0, b"\xff\x10\x04Too many connections")), "Error 1040 (HY000): Too many connections"),
    (lambda fake, connection: None, "Lost connection"),
    (login_then(packet(2, b"\xfeclient_ed25519\0" + SCRAMBLE)), "'client_ed25519' is not supported"),
    (login_then(packet(2, b"\xfedialog\0")), "'dialog' is not supported"),
    (login_then(packet(2, b"\xfe" + b"x" * 300)), "Malformed"),
    (login_then(packet(2, b"\1\4")), "use the server's socket"),
    (login_then(packet(2, b"\1\5")), "Malformed"),
    (after_login(packet(1, b"\xfb/etc/passwd")), "Malformed"),
    (after_login(packet(1, b"")), "Malformed"),
    (after_login(packet(1, b"\xfc\xff\xff")), "Malformed"),
    (after_login(packet(1, b"\1"), packet(2, b"\3def")), "Malformed"),
    (after_login(packet(1, b"\1"), packet(2, COLUMN), packet(3, b"x")), "Malformed"),
    (after_login(packet(1, b"\1"), packet(2, COLUMN), packet(3, END), packet(4, b"\xfd\xff\xff\xff")), "Malformed"),
    (after_login(packet(1, b"\1"), packet(2, COLUMN), packet(3, END), packet(4, b"\1a\1b")), "Malformed"),
    (after_login(packet(1, b"\1"), packet(2, COLUMN), packet(3, END), packet(9, b"\1a")), "Malformed"),
    (after_login(packet(1, b"\1"), packet(2, COLUMN), packet(3, END), b"\xff\xff\xff\4" + b"x" * 1000), "Lost connection"),
    (after_login(packet(1, b"\xfc\x2c\1"), *(packet(i % 256, LONG_COLUMN) for i in range(2, 302)), packet(302 % 256, END)),
     "Error 1117 (HY000): The names of the columns are too long"),
    (after_login(packet(1, b"\xff\xff")), "Malformed"),
    (after_login(packet(1, b"\xff\x01\x00#ab\xff\xfe\x00'\xff\"\x00")), "Error 1 ("),
])
def test_a_server_that_lies_breaks_only_the_run(start_execd, speak, words):
    fake = Fake(speak)
    agent = start_execd("--sql", f"mysql://user:secret@127.0.0.1:{fake.port}/x")
    assert words in error_of(run(agent, "SELECT 1"))["evalue"]
    assert not any(b"secret" in body for body in fake.seen), "the password itself was sent"
    assert agent.client.get("/ping").status_code == 200


def test_rows_before_the_end_of_a_server_are_shown(start_execd):
    fake = Fake(after_login(packet(1, b"\1"), packet(2, COLUMN), packet(3, END), packet(4, b"\1a")))
    events = run(start_execd("--sql", f"mysql://user@127.0.0.1:{fake.port}/x"), "SELECT 1")
    assert results(events)[0][0] == {"columns": ["a"], "rows": [["a"]], "truncated": True}
    assert "Lost connection" in error_of(events)["evalue"]


def test_values_of_a_liar_are_repaired(start_execd):
    fake = Fake(after_login(packet(1, b"\1"), packet(2, COLUMN), packet(3, END), packet(4, b"\4a\0\xffb"),
                            packet(5, b"\xfb"), packet(6, END)))
    agent = start_execd("--sql", f"mysql://user@127.0.0.1:{fake.port}/x")
    assert rows(agent, "SELECT 1") == [["a\ufffd\ufffdb"], [None]]


def test_the_newer_hash_of_a_password(start_execd):
    def speak(fake, connection):
        connection.sendall(greeting(b"caching_sha2_password"))
        login = fake.receive(connection)
        one = hashlib.sha256(b"secret").digest()
        two = hashlib.sha256(hashlib.sha256(one).digest() + SCRAMBLE).digest()
        fake.good = bytes(a ^ b for a, b in zip(one, two, strict=True)) in login and b"caching_sha2_password\0" in login
        connection.sendall(packet(2, b"\1\3") + packet(3, OK))
        fake.receive(connection)
        connection.sendall(packet(1, OK))
        fake.receive(connection)
        connection.sendall(packet(1, b"\0\5\0\2\0\0\0"))

    fake = Fake(speak)
    agent = start_execd("--sql", f"mysql://user:secret@127.0.0.1:{fake.port}/x")
    assert rows(agent, "INSERT INTO t VALUES (1)") == [[5]] and fake.good


def test_a_mute_server_is_given_up_at_an_interrupt(start_execd):
    fake = Fake(lambda fake, connection: fake.receive(connection))
    agent = start_execd("--sql", f"mysql://user:secret@127.0.0.1:{fake.port}/x")
    run_id, future = start_long(agent)
    agent.client.delete("/code", params={"id": run_id})
    assert future.result(PATIENCE_S)[-1]["receipt"]["reason"] == "cancelled"
