"""Says on standard error what is being done, and for how long: lines, or one moving line on a tty."""

import sys
import threading
import time


class Progress:
    """with Progress(name) as progress: progress.phase("..."); any thread may report."""

    def __init__(self, name):
        self.name, self.text, self.started = name, "", time.monotonic()
        self.moving = sys.stderr.isatty()
        self.ended = threading.Event()

    def __enter__(self):
        if self.moving:
            threading.Thread(target=self._tick, daemon=True).start()
        return self

    def __exit__(self, kind, *_):
        self.ended.set()
        if self.moving:
            sys.stderr.write("\r\033[K")

    def phase(self, text):
        self.text = text
        self._show(last=False)

    def done(self, text):
        self.text = text
        self.ended.set()
        self._show(last=True)

    def _line(self):
        return f"image {self.name}: {time.monotonic() - self.started:5.1f} s  {self.text}"

    def _show(self, last):
        sys.stderr.write(f"\r{self._line()}\033[K" + "\n" * last if self.moving else self._line() + "\n")
        sys.stderr.flush()

    def _tick(self):
        while not self.ended.wait(0.5):
            self._show(last=False)
