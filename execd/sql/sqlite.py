"""One run of SQL on SQLite.

Standard input: a line of JSON {"dsn", "max_rows", "max_bytes"}, then the statements. Standard output: JSON, one value
a line: {"columns": []} begins a result, {"row": []}, {"end": {"truncated"}}; {"affected": n} is a result
without rows; {"note"} is for people; {"error": {"ename", "evalue"}} or {"done": true} is the last. SIGINT ends the
statement. Needs Python 3.6 and its own sqlite3 module, nothing else.
"""
import json
import math
import os
import signal
import sys

QUERIES = {"SELECT", "WITH", "VALUES", "EXPLAIN", "PRAGMA"}
BUSY_S = 10
STEPS = 1000  # of SQLite's machine between two looks for an interrupt


def say(**message):
    sys.stdout.write(json.dumps(message) + "\n")


def fail(ename, evalue):
    say(error={"ename": ename, "evalue": evalue.replace("\0", "\ufffd")})
    sys.stdout.flush()
    os._exit(0)


def after(mark, text, at):
    found = text.find(mark, at)
    return found + len(mark) if found >= 0 else len(text)


def first_word(text):
    """In capitals; "" where there is nothing but blanks and comments."""
    at = 0
    while at < len(text):
        if text[at].isspace() or text[at] == ";":
            at += 1
        elif text.startswith("--", at):
            at = after("\n", text, at)
        elif text.startswith("/*", at):
            at = after("*/", text, at + 2)
        else:
            break
    end = at
    while end < len(text) and text[end].isalpha():
        end += 1
    return text[at:end].upper() or text[at:at + 1]


def statements(text, is_complete):
    start = at = 0
    while True:
        at = text.find(";", at) + 1
        if at == 0:
            break
        if is_complete(text[start:at]):
            yield text[start:at]
            start = at
    yield text[start:]


def wire(value):
    if isinstance(value, bytes):
        return "0x" + value.hex().upper()
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value.replace("\0", "\ufffd") if isinstance(value, str) else value


def weight(row):
    """Bytes that a row has at least, told before it is copied."""
    return sum(len(value) for value in row if isinstance(value, (str, bytes)))


def show_rows(cursor, settings):
    names = [wire(column[0]) for column in cursor.description]
    if sum(map(len, names)) > settings["max_bytes"]:
        fail("DBQueryError", "Error 18 (HY000): the names of the columns are too long")
    say(columns=names)
    left, rows, truncated = settings["max_bytes"], 0, False
    for row in cursor:
        truncated = rows == settings["max_rows"] or weight(row) > left
        line = "" if truncated else json.dumps({"row": [wire(value) for value in row]})
        left -= len(line)
        truncated = truncated or left < 0
        if truncated:
            break
        sys.stdout.write(line + "\n")
        rows += 1
    cursor.close()
    say(end={"truncated": truncated})


def sqlstate(error, sqlite3):
    text = str(error)
    if isinstance(error, sqlite3.IntegrityError):
        return "23000"
    for words, state in (("no such table", "42S02"), ("no such column", "42S22"), ("already exists", "42S01"),
                         ("syntax error", "42000"), ("incomplete input", "42000"), ("interrupted", "70100")):
        if words in text:
            return state
    return "HY000"


def describe(error, sqlite3):
    return "Error %d (%s): %s" % (getattr(error, "sqlite_errorcode", 1), sqlstate(error, sqlite3), error)


def open_database(path, sqlite3):
    is_ours = path.startswith("~/.opensandbox/")  # the folder of the usual database; others are whoever's named them
    path = os.path.expanduser(path)
    try:
        if is_ours:
            os.makedirs(os.path.dirname(path), mode=0o755, exist_ok=True)
        elif path != ":memory:" and not os.path.isdir(os.path.dirname(path)):
            fail("DBInitError", "open '%s': there is no folder '%s'" % (path, os.path.dirname(path)))
        database = sqlite3.connect(path, timeout=BUSY_S, isolation_level=None)
    except (sqlite3.Error, OSError) as error:
        fail("DBInitError", "open '%s': %s" % (path, error))
    database.text_factory = lambda raw: raw.decode("utf-8", "replace")
    return database


def main():
    settings = json.loads(sys.stdin.buffer.readline().decode())
    text = sys.stdin.buffer.read().decode()
    try:
        import sqlite3
    except ImportError as error:
        fail("DBInitError", "the python3 of this image has no SQLite: %s" % error)
    database = open_database(settings["dsn"], sqlite3)
    interrupted = []
    signal.signal(signal.SIGINT, lambda *_: interrupted.append(1))
    database.set_progress_handler(lambda: bool(interrupted), STEPS)
    for statement in statements(text, sqlite3.complete_statement):
        word = first_word(statement)
        if not word:
            continue
        try:
            cursor = database.execute(statement)
            if cursor.description:
                show_rows(cursor, settings)
            else:
                say(affected=max(0, cursor.rowcount))
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError) as error:
            fail("DBQueryError" if word in QUERIES else "DBExecError", describe(error, sqlite3))
        sys.stdout.flush()
        if interrupted:
            fail("DBQueryError", "Error 9 (70100): interrupted")
    if database.in_transaction:
        say(note="the transaction was still open: rolled back")
    say(done=True)
    sys.stdout.flush()


main()
