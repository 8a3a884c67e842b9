"""What a forked kernel answers to execd beside the protocol: requests on the socket over which it was born.

Data inside execd, in front of zygote.py. One request a packet, a JSON object with the key "do"; one answer a packet,
"ok" or "error: reason"; "checkpoint" is answered on the socket that comes with it, by the copy. Requests are served by the main loop, so between cells, never within the statements of one.
Nothing here is visible in the user's names, history or numbers of cells.
"""

import sys

if sys.path[:1] == [""]:  # modules are never taken from the working directory, as ipykernel_launcher has it
    del sys.path[0]

import array
import inspect
import json
import os
import socket
import time


def receive(sock):
    """A packet and its descriptors; None at the end. No more memory than it needs: there may be a limit, and no more."""
    size = sock.recv_into(bytearray(1), 1, socket.MSG_PEEK | socket.MSG_TRUNC)
    data, ancillary, _, _ = sock.recvmsg(max(size, 1), socket.CMSG_SPACE(64), socket.MSG_CMSG_CLOEXEC)
    fds = array.array("i")
    for _, _, text in ancillary:
        fds.frombytes(text[:len(text) - len(text) % fds.itemsize])
    try:
        return (json.loads(data), list(fds)) if data else (None, [])
    except BaseException:  # json is the user's to break
        for fd in fds:
            os.close(fd)
        raise


def adopt(fd):
    """A socket of ours: what the user has set for his own (socket.setdefaulttimeout) is none of its business."""
    usual = socket.getdefaulttimeout()
    socket.setdefaulttimeout(None)
    try:
        return socket.socket(fileno=fd)
    finally:
        socket.setdefaulttimeout(usual)


def error_text(error):
    """What execd hands on; no text of an object that raises while it is asked for one."""
    name = type(error).__name__
    try:
        text = str(error)
    except BaseException:
        text = ""
    plain = type(error) is RuntimeError and text
    return ("error: " + (text if plain else "%s: %s" % (name, text))).encode(errors="replace")[:500]


def fingerprint(folders):
    """What an installation of packages changes: then modules in memory and files on the disk no longer fit."""
    found = []
    for path in folders:
        try:
            state = os.stat(path)
            found.append((path, state.st_ino, state.st_mtime_ns))
        except OSError:
            pass
    return found


class Packages:
    """Those that the warm start has seen; not the current folder, which each kernel has for itself."""

    def __init__(self):
        self.folders = [path for path in sys.path if path]
        self.seen = fingerprint(self.folders)

    def have_changed(self):
        return fingerprint(self.folders) != self.seen


class Control:
    def __init__(self, talk, app, env, packages, streams):
        self.talk, self.app, self.env, self.packages, self.streams = talk, app, env, packages, streams
        self.baseline = None
        self.n_busy = 0
        self.copied = None

    def attach(self, loop):
        self.loop = loop
        self.app.shell.enable_tip = False  # the banner's, for which each kernel_info draws a random number
        handlers = self.app.kernel.shell_handlers
        handlers["execute_request"] = self.counted(handlers["execute_request"])
        self.talk.setblocking(False)
        loop.add_reader(self.talk.fileno(), self.on_request)

    def know_self(self):
        """Before the first cell, but not before all threads have made their sockets."""
        if not self.baseline:
            self.baseline = Baseline(self.app, self.talk, self.streams)

    def counted(self, handler):
        """A cell that awaits lets the main loop go on: it is not at rest for that."""
        async def execute_request(*arguments):
            self.know_self()
            self.n_busy += 1
            try:
                result = handler(*arguments)
                return await result if inspect.isawaitable(result) else result
            finally:
                self.n_busy -= 1
        return execute_request

    def on_request(self):
        """Each request is answered, or the socket closed: one that stayed would call this again at once."""
        try:
            request, fds = receive(self.talk)
        except BlockingIOError:
            return
        except BaseException:
            request = None
        if request is None:
            self.loop.remove_reader(self.talk.fileno())
            self.talk.close()
            return
        try:
            if request["do"] == "checkpoint":
                self.checkpoint(request, fds)
            else:
                self.enter(request)
                self.talk.send(b"ok")
        except Copied:
            raise
        except BaseException as error:  # objects of the user's may raise whatever they like
            self.refuse(error, fds)
        finally:
            if not self.copied:
                for fd in fds:
                    os.close(fd)

    def refuse(self, error, fds):
        try:
            sock = adopt(fds[0]) if fds else self.talk
            try:
                sock.send(error_text(error))
            finally:
                if fds:
                    sock.detach()
        except OSError:
            pass  # who asked is gone

    def checkpoint(self, request, fds):
        """As a warm interpreter does: the copy answers itself, on the socket that came along."""
        self.know_self()
        if min(fds) < 3:
            raise RuntimeError("its descriptor %d is closed" % min(fds))
        reason = "a cell is running" if self.n_busy else self.baseline.obstacle(self.loop, fds)
        if reason:
            raise RuntimeError(reason)
        middle = fork_twice(fork_alike)
        if middle:
            self.copied = Copied(request, adopt(fds[0]), fds[1:], middle)
            raise self.copied

    def enter(self, request):
        """A kernel that waited for somebody gets the folder and the environment of the one who came."""
        if self.packages.have_changed():
            raise RuntimeError("packages have changed since the warm start")
        os.chdir(request["cwd"])
        for name in self.env.keys() - request["env"].keys():
            os.environ.pop(name, None)
        for name, value in request["env"].items():
            if self.env.get(name) != value:
                os.environ[name] = value
        time.tzset()
        shell = self.app.shell
        shell.init_environment()  # what IPython always sets
        shell.starting_dir = os.getcwd()
        shell.user_ns["_dh"][:] = [type(shell.user_ns["_dh"][0])(shell.starting_dir)]
