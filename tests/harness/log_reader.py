"""What a program writes to its standard error, as lines and as log entries."""

import json
import os
import select
import threading
import time


def log_entries(lines):
    """Those of the lines that are log entries; what an entrypoint writes is left out."""
    found = []
    for line in list(lines):
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append(value)
    return found


class LogReader:
    """Reads always, so that the program never waits. What was written before somebody looks is there."""

    def __init__(self, pipe):
        self._pipe, self._fd = pipe, pipe.fileno()
        os.set_blocking(self._fd, False)
        self._lines, self._rest, self._closed = [], b"", False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._read_on, daemon=True)
        self._thread.start()

    def _take(self):
        """All there is just now; the lock is held."""
        while not self._closed:
            try:
                data = os.read(self._fd, 65536)
            except BlockingIOError:
                return
            self._closed = not data
            *whole, self._rest = (self._rest + data).split(b"\n")
            if self._closed and self._rest:
                whole.append(self._rest)
            self._lines += [line.decode(errors="replace") for line in whole]
            self._changed.notify_all()

    def _read_on(self):
        poll = select.poll()
        poll.register(self._fd, select.POLLIN)
        while not self._closed:
            poll.poll()
            with self._changed:
                self._take()

    @property
    def lines(self):
        with self._changed:
            self._take()
            return list(self._lines)

    @property
    def entries(self):
        return log_entries(self.lines)

    def wait(self, matches, what, limit_s):
        """The first entry for which matches() is true."""
        deadline = time.monotonic() + limit_s
        with self._changed:
            while (entry := next(filter(matches, self.entries), None)) is None:
                left = deadline - time.monotonic()
                if self._closed or left <= 0:
                    raise AssertionError(f"{what}; log:\n" + "\n".join(self._lines))
                self._changed.wait(left)
        return entry

    def join(self, limit_s=None):
        """Until the program has closed it."""
        self._thread.join(limit_s)
