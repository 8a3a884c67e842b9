#!/usr/bin/env python3
"""A Jupyter kernel that lies, for the kernel rows of the hardening list.

usage: fake_kernel.py CONNECTION_FILE [garbage|liar|endless|colon|starts_unread|late_stdin]

It starts like a real one. Then the code of an execute_request names the misbehaviour: a function
below. With `garbage` its sockets do not speak ZMTP, with `liar` it signs everything with a wrong
key, with `endless` its iopub sends one message whose frames never end, with `colon` its sockets are
named PREFIX:1 instead of PREFIX-1, with `starts_unread` execd is stopped when it first answers, with `late_stdin`
it listens there only when it has answered. Needs pyzmq only.
"""

import contextlib
import hashlib
import hmac
import json
import os
import signal
import socket as sockets
import sys
import time
import uuid

import zmq

SESSION = uuid.uuid4().hex


def state_of(pid):
    with open(f"/proc/{pid}/stat", encoding="utf-8") as file:
        return file.read().rpartition(")")[2].split()[0]


class Kernel:
    def __init__(self, path):
        with open(path, encoding="utf-8") as file:
            self.info = json.load(file)
        self.refuses_until = 0
        self.context = zmq.Context()
        self.shell = self.bind(zmq.ROUTER, "shell_port")
        self.control = self.bind(zmq.ROUTER, "control_port")
        self.stdin = self.open(zmq.ROUTER) if "late_stdin" in sys.argv else self.bind(zmq.ROUTER, "stdin_port")
        self.iopub = self.bind(zmq.XPUB, "iopub_port")

    def open(self, kind):
        socket = self.context.socket(kind)
        socket.linger = 1000
        socket.sndhwm = 100
        if kind == zmq.ROUTER:
            socket.router_handover = 1  # as ipykernel: who comes back under its name is let in
        return socket

    def bind(self, kind, port):
        return self.listen(self.open(kind), port)

    def listen(self, socket, port):
        tcp = self.info["transport"] == "tcp"
        separator = ":" if tcp or "colon" in sys.argv else "-"
        socket.bind(f"{self.info['transport']}://{self.info['ip']}{separator}{self.info[port]}")
        return socket

    def frames(self, msg_type, content, parent, key=None):
        header = {"msg_id": uuid.uuid4().hex, "msg_type": msg_type, "session": SESSION, "version": "5.3"}
        parts = [json.dumps(part).encode() for part in (header, parent, {}, content)]
        key = self.info["key"] if key is None else key
        digest = hmac.new(key.encode(), b"".join(parts), hashlib.sha256).hexdigest().encode()
        return [b"<IDS|MSG>", digest, *parts]

    def publish(self, msg_type, content, parent, **options):
        self.iopub.send_multipart([msg_type.encode(), *self.frames(msg_type, content, parent, **options)])

    def state(self, state, parent):
        self.publish("status", {"execution_state": state}, parent)

    def text(self, text, parent):
        self.publish("stream", {"name": "stdout", "text": text}, parent)

    def reply(self, ident, content, parent, msg_type="execute_reply"):
        self.shell.send_multipart([ident, *self.frames(msg_type, content, parent)])

    def serve(self):
        poller = zmq.Poller()
        for socket in (self.shell, self.control, self.iopub):
            poller.register(socket, zmq.POLLIN)
        begun = time.monotonic()
        while True:
            if "late_stdin" in sys.argv and not self.stdin.last_endpoint and time.monotonic() > begun + 0.5:
                self.listen(self.stdin, "stdin_port")
            for socket, _ in poller.poll(100):
                message = socket.recv_multipart()
                if socket is self.iopub:
                    continue
                at = message.index(b"<IDS|MSG>")
                header = json.loads(message[at + 2])
                content = json.loads(message[at + 5])
                if header["msg_type"] == "shutdown_request":
                    os._exit(0)
                if header["msg_type"] == "kernel_info_request":
                    self.state("busy", header)
                    self.reply(message[0], {"status": "ok", "protocol_version": "5.3"}, header, "kernel_info_reply")
                    self.state("idle", header)
                elif header["msg_type"] == "execute_request":
                    MISBEHAVIOURS[content["code"]](self, message[0], header)


OK = {"status": "ok", "execution_count": 1, "payload": [], "user_expressions": {}}
STOPPED = {"status": "error", "ename": "Stopped", "evalue": "", "traceback": []}


def behave(kernel, ident, parent, middle=lambda: None, reply=OK):
    """The right sequence, with something in the middle of it."""
    kernel.state("busy", parent)
    kernel.text("before\n", parent)
    middle()
    kernel.text("after\n", parent)
    kernel.reply(ident, reply, parent)
    kernel.state("idle", parent)


def early_idle(kernel, ident, parent):
    """Idle comes first, everything else within the patience of a reader."""
    kernel.state("busy", parent)
    kernel.state("idle", parent)
    kernel.text("before\n", parent)
    time.sleep(0.1)
    kernel.reply(ident, OK, parent)


def reply_to_a_stopped_agent(kernel, ident, parent):
    """The reply is sent, behind an output, as soon as nobody can read it."""
    kernel.state("busy", parent)
    kernel.state("idle", parent)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and state_of(os.getppid()) != "T":
        time.sleep(0.005)
    kernel.text("before\n", parent)
    kernel.reply(ident, OK, parent)


def idle_without_reply(kernel, ident, parent):
    kernel.state("busy", parent)
    kernel.text("before\n", parent)
    kernel.state("idle", parent)


def reply_without_idle(kernel, ident, parent):
    kernel.state("busy", parent)
    kernel.text("before\n", parent)
    kernel.reply(ident, OK, parent)


def idle_after_work(kernel, ident, parent):
    """The idle comes late because the process was at work all the time, as where the CPU is short."""
    kernel.state("busy", parent)
    kernel.reply(ident, OK, parent)
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        pass
    kernel.text("late\n", parent)
    kernel.state("idle", parent)


def compiles_first(kernel, ident, parent):
    """Deaf to interrupts for a while; then one ends the cell. Outside of the cell one ends the kernel."""
    kernel.state("busy", parent)
    usual = signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(1.2)
    try:
        signal.signal(signal.SIGINT, usual)
        time.sleep(60)
    except KeyboardInterrupt:
        kernel.publish("error", {"ename": "Stopped", "evalue": "", "traceback": []}, parent)
    kernel.reply(ident, STOPPED, parent)
    kernel.state("idle", parent)


def control_meanwhile(kernel, ident, parent):
    """As a kernel that answers on control while a cell runs."""
    control = {**parent, "msg_id": uuid.uuid4().hex, "msg_type": "usage_request"}
    kernel.state("busy", parent)
    time.sleep(0.4)
    try:
        kernel.state("busy", control)
        kernel.state("idle", control)
        time.sleep(60)
    except KeyboardInterrupt:
        pass
    kernel.reply(ident, STOPPED, parent)
    kernel.state("idle", parent)


def ends_during_control(kernel, ident, parent):
    """The cell ends by itself while the kernel is at something on control. An interrupt from then on ends the kernel."""
    control = {**parent, "msg_id": uuid.uuid4().hex, "msg_type": "usage_request"}
    kernel.state("busy", parent)
    time.sleep(0.4)
    kernel.state("busy", control)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)
    kernel.state("idle", control)


def two_replies(kernel, ident, parent):
    kernel.state("busy", parent)
    kernel.reply(ident, OK, parent)
    kernel.reply(ident, {"status": "error", "ename": "Second", "evalue": "", "traceback": []}, parent)
    kernel.state("idle", parent)
    kernel.state("idle", parent)
    time.sleep(0.1)
    kernel.text("too late\n", parent)


def dead_silence(kernel, ident, parent):
    """Neither busy nor anything else, and deaf to SIGINT, as a library that hangs in C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    time.sleep(3600)


def hangs(kernel, ident, parent):
    """As dead_silence, in the middle of its work; it has to be killed."""
    kernel.state("busy", parent)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    dead_silence(kernel, ident, parent)


def takes_a_second(kernel, ident, parent):
    behave(kernel, ident, parent, lambda: time.sleep(1))


def wrong_signature(kernel, ident, parent):
    behave(kernel, ident, parent, lambda: kernel.publish(
        "stream", {"name": "stdout", "text": "forged\n"}, parent, key="wrong"))


def wrong_parent(kernel, ident, parent):
    stranger = {**parent, "msg_id": "somebody-else"}

    def middle():
        kernel.text("forged\n", stranger)
        kernel.state("idle", stranger)
        kernel.reply(ident, {"status": "error", "ename": "Forged"}, stranger)

    behave(kernel, ident, parent, middle)


def broken_frames(kernel, ident, parent):
    def middle():
        good = kernel.frames("stream", {"name": "stdout", "text": "forged\n"}, parent)
        for bad in ([b""], [b"<IDS|MSG>"], good[:3], good[:5], [b"x"] * 1000, [b"x"] * 20 + good,
                    [b"x"] * 1000 + good):
            kernel.iopub.send_multipart(bad)
            kernel.shell.send_multipart([ident, *bad])
        for header in (b"not json", b"[]", b"null", b"{}", b'{"msg_id":1}', b'{"msg_id":"' + b"x" * 100000 + b'"}'):
            parts = [header, json.dumps(parent).encode(), b"{}", b"{}"]
            digest = hmac.new(kernel.info["key"].encode(), b"".join(parts), hashlib.sha256).hexdigest().encode()
            kernel.iopub.send_multipart([b"<IDS|MSG>", digest, *parts])

    behave(kernel, ident, parent, middle)


def many_buffers(kernel, ident, parent):
    """As widgets of many columns; the second has more than anybody takes."""
    def middle():
        for count in (300, 600):
            message = kernel.frames("display_data", {"data": {"text/plain": str(count)}, "metadata": {}}, parent)
            kernel.iopub.send_multipart([b"t", *message, *(b"%d" % number for number in range(count))])

    behave(kernel, ident, parent, middle)


def deep_content(kernel, ident, parent):
    """Valid, but deeper than anybody reads."""
    behave(kernel, ident, parent, lambda: raw_content(
        kernel, "stream", b'{"name":"stdout","text":' + b"[" * 5000 + b"]" * 5000 + b"}", parent))


def odd_content(kernel, ident, parent):
    def middle():
        for content in (None, [], "text", 7, {}, {"text": None}, {"name": 1, "text": 2}, {"data": []}, {"data": {"a": None}},
                        {"execution_state": 5}, {"traceback": "no list"}):
            for msg_type in ("stream", "status", "execute_result", "display_data", "clear_output", "no_such_type"):
                kernel.publish(msg_type, content, parent)

    behave(kernel, ident, parent, middle)


def replay(kernel, ident, parent):
    kernel.state("busy", parent)
    frames = [b"t", *kernel.frames("stream", {"name": "stdout", "text": "again\n"}, parent)]
    kernel.iopub.send_multipart(frames)
    kernel.iopub.send_multipart(frames)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def raw_content(kernel, msg_type, content, parent):
    """Signed as it should be, whatever the content is."""
    parts = [json.dumps({"msg_id": uuid.uuid4().hex, "msg_type": msg_type}).encode(), json.dumps(parent).encode(), b"{}", content]
    digest = hmac.new(kernel.info["key"].encode(), b"".join(parts), hashlib.sha256).hexdigest().encode()
    kernel.iopub.send_multipart([b"<IDS|MSG>", digest, *parts])


def no_json(kernel, ident, parent):
    def middle():
        for content in (b'{"injected":NaN}', b'{}, "channel":"shell","injected":{}', b'{"injected":', b"\xff", b"[" * 100000):
            raw_content(kernel, "display_data", content, parent)

    behave(kernel, ident, parent, middle)


def no_utf8(kernel, ident, parent):
    behave(kernel, ident, parent, lambda: raw_content(
        kernel, "stream", b'{"name":"stdout","text":"\xff(\xc3"}', parent))


def display_flood(kernel, ident, parent):
    """80 MB that is no stream."""
    kernel.state("busy", parent)
    for _ in range(800):
        kernel.publish("display_data", {"data": {"text/plain": "x" * 100000}, "metadata": {}}, parent)
    time.sleep(1)  # or what follows is dropped here
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def huge_frame(kernel, ident, parent):
    """Over the limit of one frame: the connection breaks, the next run must find a new one."""
    kernel.state("busy", parent)
    kernel.text("x" * (33 << 20), parent)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def huge_failure(kernel, ident, parent):
    """What is lost with the connection is the end of a cell that has failed."""
    kernel.state("busy", parent)
    kernel.text("x" * (33 << 20), parent)
    kernel.reply(ident, {"status": "error", "ename": "E", "evalue": "", "traceback": []}, parent)
    kernel.state("idle", parent)


def huge_frame_in_the_middle(kernel, ident, parent):
    """The cell goes on behind what broke the connection."""
    kernel.state("busy", parent)
    kernel.text("x" * (33 << 20), parent)
    time.sleep(2)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def huge_frame_behind_more(kernel, ident, parent):
    """As huge_frame, of a kernel that is stopped just then: its reader is behind."""
    sizes = [1 << 20] * 5 + [33 << 20]
    texts = [kernel.frames("stream", {"name": "stdout", "text": "y" * size}, parent) for size in sizes]
    kernel.state("busy", parent)
    for frames in texts:
        kernel.iopub.send_multipart([b"t", *frames], copy=False)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def reply_overtakes_output(kernel, ident, parent):
    """A large message takes longer than a small one on another socket."""
    kernel.state("busy", parent)
    kernel.reply(ident, OK, parent)
    time.sleep(0.1)
    kernel.text("x" * 3_500_000, parent)
    kernel.state("idle", parent)


def flood(kernel, ident, parent):
    """More than anybody can read, of no use to anybody."""
    kernel.state("busy", parent)
    stranger = kernel.frames("stream", {"name": "stdout", "text": "x" * (1 << 20)}, {**parent, "msg_id": "stranger"})
    end = time.monotonic() + 4
    while time.monotonic() < end:
        kernel.iopub.send_multipart([b"t", *stranger], copy=False)
    time.sleep(1)
    kernel.text("after\n", parent)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def huge_reply(kernel, ident, parent):
    kernel.state("busy", parent)
    kernel.reply(ident, {**OK, "padding": "x" * (33 << 20)}, parent)
    kernel.state("idle", parent)


def asks_for_input(kernel, ident, parent):
    """Although the request forbids it."""
    kernel.state("busy", parent)
    ask(kernel, ident, parent)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def ask(kernel, ident, parent, asker=None):
    question = kernel.frames("input_request", {"prompt": "? ", "password": False}, asker or parent)
    kernel.stdin.send_multipart([ident, *question])
    kernel.text(json.dumps(json.loads(kernel.stdin.recv_multipart()[-1])), parent)


def asks_for_another(kernel, ident, parent):
    """First in the name of a request that is not under way."""
    kernel.state("busy", parent)
    ask(kernel, ident, parent, {**parent, "msg_id": "somebody-else"})
    ask(kernel, ident, parent)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def error_on_stderr(kernel, ident, parent):
    """As tslab: its reply says no more than that it failed, and for 200 ms it refuses everything."""
    kernel.state("busy", parent)
    kernel.publish("stream", {"name": "stderr", "text": "cell:1\nthrow x\n\nTypeError: bad\n    at cell:1\n"}, parent)
    kernel.reply(ident, {"status": "error", "execution_count": 1}, parent)
    kernel.state("idle", parent)
    kernel.refuses_until = time.monotonic() + 0.2


def refuses_after_error(kernel, ident, parent):
    refused = time.monotonic() < kernel.refuses_until
    behave(kernel, ident, parent, reply={"status": "abort"} if refused else OK)


def writes_past_the_protocol(kernel, ident, parent):
    """More than fits into a pipe, and the last of it just before the end."""
    kernel.state("busy", parent)
    for _ in range(100):
        os.write(1, b"o" * 4095 + b"\n")
    os.write(2, "ü\n".encode())
    os.write(1, b"last\n")
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def child_writes_past_the_protocol(kernel, ident, parent):
    """A child is not stopped with its parent."""
    import subprocess

    kernel.state("busy", parent)
    subprocess.run("head -c 80000000 /dev/zero | tr '\\0' o", shell=True, check=True)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def writes_and_dies(kernel, ident, parent):
    kernel.state("busy", parent)
    os.write(1, b"last words\n")
    os._exit(5)


def display_for_result(kernel, ident, parent):
    """As R."""
    kernel.state("busy", parent)
    kernel.publish("display_data", {"data": {"text/plain": "[1] 2"}, "metadata": {}}, parent)
    kernel.reply(ident, {**OK, "execution_count": 7}, parent)
    kernel.state("idle", parent)


def many_small(kernel, ident, parent):
    """Text that comes piece by piece, a break of the stream, and more of it."""
    kernel.state("busy", parent)
    kernel.text("first\n", parent)
    time.sleep(0.5)
    kernel.iopub.setsockopt(zmq.XPUB_NODROP, 1)
    for number in range(5000):
        kernel.text(f"{number}\n", parent)
    kernel.iopub.setsockopt(zmq.XPUB_NODROP, 0)
    kernel.publish("stream", {"name": "stderr", "text": "between\n"}, parent)
    kernel.text("last\n", parent)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def everything(kernel, ident, parent):
    """All kinds of output, in an order that must be kept; comms are no output."""
    kernel.state("busy", parent)
    kernel.text("1\n", parent)
    kernel.publish("display_data", {"data": {"text/plain": "2"}, "transient": {}}, parent)
    kernel.publish("comm_open", {"comm_id": "c", "target_name": "t", "data": {}}, parent)
    kernel.publish("clear_output", {"wait": True}, parent)
    kernel.publish("display_data", {"data": {"text/plain": "3", "application/x-own+json": [1, {"a": None}]},
                                    "transient": {"display_id": "id"}}, parent)
    kernel.publish("comm_msg", {"comm_id": "c", "data": {"x": 1}}, parent)
    kernel.publish("update_display_data", {"data": {"image/svg+xml": "<svg/>"}, "transient": {"display_id": "id"}}, parent)
    kernel.publish("stream", {"name": "stderr", "text": "4\n"}, parent)
    kernel.publish("clear_output", {}, parent)
    kernel.publish("execute_result", {"data": {"text/plain": 5}, "execution_count": 9}, parent)
    kernel.publish("comm_close", {"comm_id": "c"}, parent)
    kernel.text("6\n", parent)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)


def huge_error(kernel, ident, parent):
    error = {"ename": "E" * 5000, "evalue": "é" * 100_000, "traceback": ["x" * 100_000] * 50}
    kernel.state("busy", parent)
    kernel.publish("error", error, parent)
    kernel.reply(ident, {"status": "error", **error}, parent)
    kernel.state("idle", parent)


def late_result(kernel, ident, parent):
    """As deno on a busy machine."""
    kernel.state("busy", parent)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)
    time.sleep(0.02)
    kernel.publish("execute_result", {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 1}, parent)


def stop_execd():
    """What is said from now on lies unread until the test lets it go on. In its wait: of a stop just behind one it could not
    tell how long it was."""
    execd = os.getppid()
    while state_of(execd) != "S":
        time.sleep(0.001)
    os.kill(execd, signal.SIGSTOP)


def fails_unread(kernel, ident, parent):
    kernel.state("busy", parent)
    time.sleep(0.2)
    stop_execd()
    kernel.publish("error", STOPPED, parent)
    kernel.reply(ident, STOPPED, parent)
    kernel.state("idle", parent)


def reacts_unread(kernel, ident, parent):
    """To an interrupt, at once."""
    kernel.state("busy", parent)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        stop_execd()
    kernel.reply(ident, STOPPED, parent)
    kernel.state("idle", parent)


def late_result_unread(kernel, ident, parent):
    kernel.state("busy", parent)
    kernel.reply(ident, OK, parent)
    kernel.state("idle", parent)
    time.sleep(0.03)
    stop_execd()
    kernel.publish("execute_result", {"data": {"text/plain": "42"}, "metadata": {}, "execution_count": 1}, parent)


def ends_unread(kernel, ident, parent):
    """The kernel ends when everything is on its way."""
    behave(kernel, ident, parent, stop_execd)
    kernel.context.destroy(linger=10000)
    os._exit(5)


def forks(kernel, ident, parent):
    """A child inherits all sockets and outlives its parent."""
    kernel.state("busy", parent)
    if os.fork() == 0:
        time.sleep(3600)
    kernel.text("child\n", parent)
    time.sleep(0.1)
    os._exit(9)


MISBEHAVIOURS = {
    "ok": behave,
    "early_idle": early_idle,
    "idle_without_reply": idle_without_reply,
    "reply_without_idle": reply_without_idle,
    "idle_after_work": idle_after_work,
    "hangs": hangs,
    "takes_a_second": takes_a_second,
    "huge_failure": huge_failure,
    "huge_frame_in_the_middle": huge_frame_in_the_middle,
    "huge_frame_behind_more": huge_frame_behind_more,
    "reply_overtakes_output": reply_overtakes_output,
    "control_meanwhile": control_meanwhile,
    "ends_during_control": ends_during_control,
    "two_replies": two_replies,
    "dead_silence": dead_silence,
    "wrong_signature": wrong_signature,
    "wrong_parent": wrong_parent,
    "broken_frames": broken_frames,
    "many_buffers": many_buffers,
    "deep_content": deep_content,
    "odd_content": odd_content,
    "replay": replay,
    "no_json": no_json,
    "no_utf8": no_utf8,
    "display_flood": display_flood,
    "huge_frame": huge_frame,
    "huge_reply": huge_reply,
    "flood": flood,
    "asks_for_input": asks_for_input,
    "asks_for_another": asks_for_another,
    "many_small": many_small,
    "everything": everything,
    "huge_error": huge_error,
    "forks": forks,
    "error_on_stderr": error_on_stderr,
    "refuses_after_error": refuses_after_error,
    "writes_past_the_protocol": writes_past_the_protocol,
    "writes_and_dies": writes_and_dies,
    "child_writes_past_the_protocol": child_writes_past_the_protocol,
    "display_for_result": display_for_result,
    "late_result": late_result,
    "reply_to_a_stopped_agent": reply_to_a_stopped_agent,
    "compiles_first": compiles_first,
    "empty_ename": lambda k, i, p: behave(k, i, p, reply={"status": "error", "ename": "", "evalue": "3", "traceback": []}),
    "aborted": lambda k, i, p: behave(k, i, p, reply={"status": "aborted"}),
    "abort": lambda k, i, p: behave(k, i, p, reply={"status": "abort"}),
    "bare_error": lambda k, i, p: behave(k, i, p, reply={"status": "error"}),
    "odd_status": lambda k, i, p: behave(k, i, p, reply={"status": 7}),
    "becomes_another": lambda k, i, p: os.execv("/bin/sleep", ["sleep", "3600"]),
    "ends": lambda k, i, p: os._exit(5),
    "ends_unread": ends_unread,
    "fails_unread": fails_unread,
    "reacts_unread": reacts_unread,
    "late_result_unread": late_result_unread,
}



def speak_garbage(path):
    """Unix sockets that answer every connection with bytes of no protocol."""
    with open(path, encoding="utf-8") as file:
        info = json.load(file)
    listeners = []
    for port in ("shell_port", "iopub_port", "stdin_port", "control_port", "hb_port"):
        listener = sockets.socket(sockets.AF_UNIX)
        listener.bind(f"{info['ip']}-{info[port]}")
        listener.listen()
        listener.setblocking(False)
        listeners.append(listener)
    kept = []
    while True:
        for number, listener in enumerate(listeners):
            try:
                connection, _ = listener.accept()
            except BlockingIOError:
                continue
            # An old version, another mechanism, plain noise, an endless greeting, and silence.
            noise = [b"\xff" + b"\0" * 8 + b"\x7f\x01", b"\xff" + b"\0" * 8 + b"\x7f\x03\0CURVE" + b"\0" * 48,
                     os.urandom(200), b"\xff" * 10000, b""][number] or b"\0"
            with contextlib.suppress(BrokenPipeError):  # it may have gone again
                connection.send(noise)
            kept = (kept + [connection])[-50:]
        time.sleep(0.005)


def endless_message(path):
    """ZMTP 3.0 by hand: greeting, READY, then frames that each announce another one."""
    with open(path, encoding="utf-8") as file:
        info = json.load(file)
    listener = sockets.socket(sockets.AF_UNIX)
    listener.bind(f"{info['ip']}-{info['iopub_port']}")
    listener.listen()
    while True:
        connection, _ = listener.accept()
        try:
            connection.sendall(b"\xff" + b"\0" * 8 + b"\x7f\x03\0NULL".ljust(55, b"\0"))
            connection.sendall(b"\x04\x19\x05READY\x0bSocket-Type\0\0\0\x03PUB")
            frame = b"\x03" + (1 << 20).to_bytes(8, "big") + b"x" * (1 << 20)
            while True:
                connection.sendall(frame)
        except OSError:
            connection.close()


if __name__ == "__main__":
    if sys.argv[2:] == ["endless"]:
        endless_message(sys.argv[1])
    if sys.argv[2:] == ["garbage"]:
        speak_garbage(sys.argv[1])
    kernel = Kernel(sys.argv[1])
    if sys.argv[2:] == ["liar"]:
        kernel.info["key"] = "another key"
    if sys.argv[2:] == ["starts_unread"]:
        time.sleep(0.3)  # it is asked meanwhile
        stop_execd()
    kernel.serve()
