"""A client of /api/kernels/ID/channels in either framing, that checks what every frame must have."""

import json
import struct
import time
import uuid
from types import SimpleNamespace

from harness.execd import TOKEN, TOKEN_HEADER
from harness.patience import PATIENCE_S
from harness.ws import BINARY, CLOSE, TEXT, WebSocket

V1 = "v1.kernel.websocket.jupyter.org"
KEYS = {"header", "msg_id", "msg_type", "parent_header", "metadata", "content", "buffers", "channel"}


def encode_v1(channel, parts):
    pieces = [channel.encode(), *parts]
    offsets = [8 * (len(pieces) + 2)]
    for piece in pieces:
        offsets.append(offsets[-1] + len(piece))
    return struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + b"".join(pieces)


def decode_v1(data):
    count, = struct.unpack_from("<Q", data)
    offsets = struct.unpack_from(f"<{count}Q", data, 8)
    assert offsets[0] == 8 * (count + 1) and offsets[-1] == len(data)
    pieces = [data[a:b] for a, b in zip(offsets, offsets[1:])]
    header, parent, metadata, content = (json.loads(piece) for piece in pieces[1:5])
    return {"channel": pieces[0].decode(), "header": header, "parent_header": parent, "metadata": metadata,
            "content": content, "buffers": pieces[5:], "msg_id": header["msg_id"], "msg_type": header["msg_type"]}


def encode_binary(message, buffers):
    pieces = [json.dumps(message).encode(), *buffers]
    at, offsets = 4 * (len(pieces) + 1), []
    for piece in pieces:
        offsets.append(at)
        at += len(piece)
    return struct.pack(f"!{len(pieces) + 1}I", len(pieces), *offsets) + b"".join(pieces)


def decode_binary(data):
    count, = struct.unpack_from("!I", data)
    offsets = [*struct.unpack_from(f"!{count}I", data, 4), len(data)]
    pieces = [data[a:b] for a, b in zip(offsets, offsets[1:])]
    message = json.loads(pieces[0])
    assert set(message) == KEYS - {"buffers"}
    return {**message, "buffers": pieces[1:]}


class Closed(Exception):
    def __init__(self, code, reason):
        super().__init__(f"{code} {reason}")
        self.code, self.reason = code, reason


class Channels:
    """One connection. Messages are namespaces with the keys of KEYS."""

    def __init__(self, agent, kernel, query="", v1=False, limit_s=PATIENCE_S, connection=None, headers=()):
        headers = [f"{TOKEN_HEADER}: {TOKEN}", *headers] + ([f"Sec-WebSocket-Protocol: {V1}"] if v1 else [])
        self.ws = WebSocket(connection or agent.connect(), f"/api/kernels/{kernel}/channels{query}", headers, limit_s)
        assert self.ws.headers.get("sec-websocket-protocol") == (V1 if v1 else None)
        self.v1, self.session, self.extra_keys = v1, uuid.uuid4().hex, set()

    def send(self, msg_type, content=None, channel="shell", parent=None, buffers=(), msg_id=None, metadata=None):
        header = {"msg_id": msg_id or uuid.uuid4().hex, "msg_type": msg_type, "session": self.session,
                  "username": "tester", "version": "5.3"}
        parts = [header, parent or {}, metadata or {}, content or {}]
        if self.v1:
            self.ws.send(BINARY, encode_v1(channel, [*(json.dumps(p).encode() for p in parts), *buffers]))
            return header["msg_id"]
        message = dict(zip(("header", "parent_header", "metadata", "content"), parts), channel=channel)
        if buffers:
            self.ws.send(BINARY, encode_binary(message, buffers))
        else:
            self.ws.send(TEXT, json.dumps({**message, "buffers": []}))
        return header["msg_id"]

    def execute(self, code, **content):
        return self.send("execute_request", {"code": code, "silent": False, "store_history": True,
                                             "user_expressions": {}, "allow_stdin": False, **content})

    def decode(self, frame):
        if self.v1:
            assert frame.opcode == BINARY
            message = decode_v1(frame.payload)
        elif frame.opcode == BINARY:
            message = decode_binary(frame.payload)
        else:
            message = json.loads(frame.payload.decode())
            assert set(message) == KEYS | self.extra_keys
            assert message["buffers"] == []
        assert message["channel"] in ("shell", "iopub", "stdin", "control")
        assert message["msg_id"] == message["header"]["msg_id"]
        assert message["msg_type"] == message["header"]["msg_type"]
        return SimpleNamespace(**message, parent=message["parent_header"].get("msg_id"))

    def read(self):
        frame = self.ws.read()
        if frame.opcode == CLOSE:
            raise Closed(struct.unpack("!H", frame.payload[:2])[0] if frame.payload else 1005, frame.payload[2:].decode())
        return self.decode(frame)

    def until(self, wanted, limit_s=PATIENCE_S):
        """All messages up to the first one for which wanted(message) is true."""
        deadline, seen = time.monotonic() + limit_s, []
        while time.monotonic() < deadline:
            seen.append(self.read())
            if wanted(seen[-1]):
                return seen
        raise AssertionError(f"not in time; seen: {[(m.channel, m.msg_type) for m in seen[-20:]]}")

    def result(self, msg_id, limit_s=PATIENCE_S):
        """What belongs to a request, up to and with its idle."""
        seen = self.until(lambda m: m.parent == msg_id and is_status(m, "idle"), limit_s)
        return [m for m in seen if m.parent == msg_id]

    def status(self, state, limit_s=PATIENCE_S):
        """Reads up to a status of the kernel itself: without a parent."""
        return self.until(lambda m: m.parent is None and is_status(m, state), limit_s)

    def run(self, code, **content):
        return self.result(self.execute(code, **content))

    def closed(self):
        """Reads up to the close frame: (code, reason)."""
        try:
            while True:
                self.read()
        except Closed as closed:
            return closed.code, closed.reason

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.ws.drop()


def is_status(message, state):
    return message.msg_type == "status" and message.content.get("execution_state") == state


def ends_a_line(message):
    """The end of what a print() has said: a kernel may flush between a text and its newline."""
    return message.msg_type == "stream" and message.content["text"].endswith("\n")


def types(messages):
    """Short names: statuses by their state."""
    return [m.content.get("execution_state") if m.msg_type == "status" else m.msg_type for m in messages]


def text_of(messages, name="stdout"):
    return "".join(m.content["text"] for m in messages if m.msg_type == "stream" and m.content.get("name") == name)


def reply_of(messages):
    replies = [m for m in messages if m.channel in ("shell", "control")]
    assert len(replies) == 1, types(messages)
    return replies[0]
