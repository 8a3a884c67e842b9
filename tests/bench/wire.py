"""A keep-alive HTTP client of a few microseconds, so that what is measured is the other side."""

import json
import socket


class Wire:
    def __init__(self, address, headers, timeout_s=60):
        """address: a Unix socket's path, or (host, port)."""
        family = socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX
        self.socket = socket.socket(family)
        self.socket.settimeout(timeout_s)
        self.socket.connect(address if isinstance(address, tuple) else str(address))
        if family == socket.AF_INET:
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.fields = "".join(f"{name}: {value}\r\n" for name, value in headers.items())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()

    def send(self, method, path, body=None):
        data = b"" if body is None else json.dumps(body).encode()
        self.socket.sendall(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{self.fields}Content-Type: application/json\r\n"
                            f"Content-Length: {len(data)}\r\n\r\n".encode() + data)

    def ask(self, method, path, body=None, wanted=(200,)):
        """The response's body (chunk sizes left in); raises on another status than the wanted ones."""
        self.send(method, path, body)
        return self.answer(f"{method} {path}", wanted)

    def answer(self, to, wanted=(200,)):
        """To what was sent."""
        text = b""
        while (end := text.find(b"\r\n\r\n")) < 0:
            text += self.receive()
        head, rest = text[:end].lower(), bytearray(text[end + 4:])
        status = int(head[9:12])
        if b"transfer-encoding: chunked" in head:
            while not (rest.endswith(b"\r\n0\r\n\r\n") or rest == b"0\r\n\r\n"):
                rest += self.receive()
        elif status != 204:
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            while len(rest) < length:
                rest += self.receive()
        if status not in wanted:
            raise RuntimeError(f"{to}: status {status}: {rest[:300].decode(errors='replace')}")
        return rest

    def receive(self):
        piece = self.socket.recv(1 << 20)
        if not piece:
            raise RuntimeError("the connection ended before its answer")
        return piece
