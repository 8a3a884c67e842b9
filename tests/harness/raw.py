"""HTTP byte by byte: for requests that no library would send, and for answers as they really are."""

import socket
from collections import namedtuple

from harness.patience import PATIENCE_S

Response = namedtuple("Response", "status reason headers body")


class RawConnection:
    """A connection on which exact bytes are sent. Use as a context manager."""

    def __init__(self, connection, limit_s=PATIENCE_S):
        self.socket = connection
        self.limit_s = limit_s
        self.buffer = b""
        self.closed = False  # the peer has closed

    def send(self, data):
        self.socket.sendall(data.encode() if isinstance(data, str) else data)

    def fill(self, limit_s=None):
        """Reads once; False at the end of the connection. TimeoutError when nothing comes."""
        self.socket.settimeout(limit_s if limit_s is not None else self.limit_s)
        try:
            data = self.socket.recv(65536)
        except ConnectionResetError:
            data = b""
        self.buffer += data
        self.closed = self.closed or not data
        return bool(data)

    def read_until(self, mark):
        while mark not in self.buffer:
            if not self.fill():
                raise EOFError(f"closed before {mark!r}: {self.buffer!r}")
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def read_exactly(self, n):
        while len(self.buffer) < n:
            if not self.fill():
                raise EOFError(f"closed after {len(self.buffer)} of {n} bytes")
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def read_all(self):
        """Everything until the peer closes."""
        while not self.closed:
            self.fill()
        data, self.buffer = self.buffer, b""
        return data

    def read_chunk(self):
        """One chunk of a chunked body; b"" is the last one. Strict: anything malformed raises."""
        size = int(self.read_until(b"\r\n"), 16)
        data = self.read_exactly(size)
        if self.read_exactly(2) != b"\r\n":
            raise ValueError("chunk without its end")
        return data

    def read_response(self, head_request=False):
        """One whole response. headers: list of (lower-case name, value)."""
        lines = self.read_until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        _, status, *reason = lines[0].split(" ", 2)
        headers = [(name.lower(), value.strip()) for name, _, value in (line.partition(":") for line in lines[1:])]
        fields = dict(headers)
        body = b""
        if head_request or int(status) in (204, 304) or int(status) < 200:
            pass
        elif fields.get("transfer-encoding", "").lower() == "chunked":
            while chunk := self.read_chunk():
                body += chunk
        elif "content-length" in fields:
            body = self.read_exactly(int(fields["content-length"]))
        else:
            body = self.read_all()
        return Response(int(status), "".join(reason), headers, body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
