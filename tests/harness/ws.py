"""WebSocket byte by byte: a client that can break every rule of RFC 6455, and tell what it got."""

import base64
import hashlib
import json
import os
import socket
import struct
import time
from collections import namedtuple

from harness.patience import PATIENCE_S

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
Frame = namedtuple("Frame", "opcode payload fin rsv")


def frame(opcode, payload=b"", fin=True, mask=b"\x37\xfa\x21\x3d", rsv=0, length=None):
    """The bytes of one frame. mask None: unmasked. length: what the head claims instead of the truth."""
    n = len(payload) if length is None else length
    bit = 0x80 if mask is not None else 0
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    if n < 126:
        head += bytes([bit | n])
    elif n < 65536:
        head += bytes([bit | 126]) + struct.pack("!H", n)
    else:
        head += bytes([bit | 127]) + struct.pack("!Q", n)
    if mask is None:
        return head + payload
    key = (mask * (len(payload) // 4 + 1))[:len(payload)]
    masked = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(len(payload), "big")
    return head + mask + masked


def handshake(path, headers=(), key=None, version="13"):
    key = key or base64.b64encode(os.urandom(16)).decode()
    lines = [f"GET {path} HTTP/1.1", "Host: execd", "Upgrade: websocket", "Connection: Upgrade",
             f"Sec-WebSocket-Key: {key}", f"Sec-WebSocket-Version: {version}", *headers]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


class Refused(Exception):
    def __init__(self, status, headers, body):
        super().__init__(f"{status}: {body[:300]!r}")
        self.status, self.headers, self.body = status, headers, body

    def json(self):
        return json.loads(self.body)


class WebSocket:
    """A connected client over `connection`. Refused when the answer is not 101."""

    def __init__(self, connection, path, headers=(), limit_s=PATIENCE_S, more=b""):
        self.socket, self.limit_s, self.buffer = connection, limit_s, b""
        self.socket.settimeout(limit_s)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(handshake(path, headers, key) + more)
        head = self._until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        self.status = int(head[0].split(" ")[1])
        self.headers = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:])}
        if self.status != 101:
            body = self._exactly(int(self.headers.get("content-length", 0)))
            self.socket.close()
            raise Refused(self.status, self.headers, body)
        want = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        assert self.headers["sec-websocket-accept"] == want

    def _fill(self):
        data = self.socket.recv(65536)
        if not data:
            raise EOFError("the connection was closed")
        self.buffer += data

    def _until(self, mark):
        while mark not in self.buffer:
            self._fill()
        head, _, self.buffer = self.buffer.partition(mark)
        return head

    def _exactly(self, n):
        while len(self.buffer) < n:
            self._fill()
        data, self.buffer = self.buffer[:n], self.buffer[n:]
        return data

    def send_raw(self, data):
        self.socket.sendall(data)

    def send(self, opcode, payload=b"", **more):
        if isinstance(payload, str):
            payload = payload.encode()
        self.socket.sendall(frame(opcode, payload, **more))

    def send_json(self, **value):
        self.send(TEXT, json.dumps(value))

    def read_frame(self):
        """The next frame, of any kind. Strict: the server must not mask."""
        first, second = self._exactly(2)
        assert not second & 0x80, "the server masks"
        n = second & 0x7F
        if n == 126:
            n = struct.unpack("!H", self._exactly(2))[0]
        elif n == 127:
            n = struct.unpack("!Q", self._exactly(8))[0]
        return Frame(first & 0xF, self._exactly(n), bool(first & 0x80), first >> 4 & 7)

    def read(self):
        """The next message; pings are answered on the way."""
        while True:
            got = self.read_frame()
            assert got.fin and not got.rsv
            if got.opcode == PING:
                self.send(PONG, got.payload)
            elif got.opcode != PONG:
                return got

    def read_close(self):
        """Reads up to the close frame; (code, reason)."""
        deadline = time.monotonic() + self.limit_s
        while time.monotonic() < deadline:
            got = self.read()
            if got.opcode == CLOSE:
                code = struct.unpack("!H", got.payload[:2])[0] if got.payload else 1005
                return code, got.payload[2:].decode()
        raise AssertionError("no close frame in time")

    def is_at_end(self):
        """Does the server close the connection now?"""
        try:
            while True:
                self._fill()
        except (EOFError, ConnectionResetError):
            return True
        except (TimeoutError, socket.timeout):
            return False

    def close(self, code=1000):
        """The closing handshake, started by us."""
        self.send(CLOSE, struct.pack("!H", code))
        answer = self.read_close()
        assert self.is_at_end()
        self.socket.close()
        return answer

    def drop(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.socket.close()
