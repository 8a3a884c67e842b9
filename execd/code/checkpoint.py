"""Copies of a kernel: at rest it forks; the copy parks without threads and sockets, and forks kernels on request.

Data inside execd, between control.py and zygote.py. The main thread is all that a fork takes along. So the copy lets go
of what belonged to the others (sockets, event loops, captured output) and, once it becomes a kernel, makes these anew
around the same shell: same names, same history, same objects that user code holds on to (sys.stdout, the shell).
Whatever would be lost or shared silently is looked for before, and named in a refusal.
"""

import asyncio
import atexit
import errno
import gc
import re
import signal
import stat
import threading
import warnings

FORK_SECONDS = 4  # less than execd waits
FORK_FAILED = 128  # in an exit status, with the cause
GRAVEYARD = []  # what other threads owned: never destroyed, it would close descriptors that are somebody else's now
OUTPUTS = {}  # the user's copies of descriptors 1 and 2 (os.dup): of which they are
HARMLESS_DEVICES = {"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom", "/dev/tty"}
OWN_MODULES = ("ipykernel.", "IPython.", "tornado.", "zmq.", "asyncio.", "jupyter_client.")


class Copied(SystemExit):
    """Takes the copy out of the event loop that it no longer has."""

    def __init__(self, request, sock, groups, middle):
        self.request, self.sock, self.groups, self.middle = request, sock, groups, middle


def random_states():
    """What puts all generators back to where they are now: a copy goes on as the original would have."""
    import random
    states = [(random.setstate, random.getstate())]
    numpy_random = sys.modules.get("numpy.random")
    if numpy_random:
        states.append((numpy_random.set_state, numpy_random.get_state()))
    return lambda: [restore(state) for restore, state in states]


class Patience:
    """What hangs between fork and birth (a hook of os.register_at_fork, say) is ended by an alarm, so that the process
    that waits for it goes on. Timers are not inherited, and a kernel that has one is not copied."""
    forking = False
    handler = None

    @classmethod
    def begin(cls):
        """In the child, before all hooks of the user's."""
        if cls.forking:
            cls.handler = cls.handler or signal.getsignal(signal.SIGALRM)  # of the first of two forks
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
            signal.alarm(FORK_SECONDS)

    @classmethod
    def end(cls):
        signal.alarm(0)
        signal.signal(signal.SIGALRM, cls.handler or signal.SIG_DFL)
        cls.handler = None


os.register_at_fork(after_in_child=Patience.begin)


def fork_alike():
    restore = random_states()
    Patience.forking = True
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # other threads: they were looked at
            pid = os.fork()
    finally:
        Patience.forking = False
    if pid == 0:
        try:
            restore()
        except BaseException:
            os._exit(5)  # never on as a second kernel
    return pid


def shed_threads(allowed):
    """Libraries that know about forks, as OpenBLAS does, end their threads before one and make new ones when needed."""
    if len(os.listdir("/proc/self/task")) > allowed:
        pid = fork_alike()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
    for _ in range(50):  # they end in a moment
        if len(os.listdir("/proc/self/task")) <= allowed:
            return True
        time.sleep(0.002)
    return False


def be_middle(fork):
    """Returns in the grandchild only."""
    middle = os.getpid()
    try:
        if fork():
            os._exit(0)
    except BaseException as error:
        os._exit(FORK_FAILED | (getattr(error, "errno", None) or errno.ENOMEM))
    return middle


def check_middle(status):
    code = os.waitstatus_to_exitcode(status)
    if code == -signal.SIGALRM:
        raise RuntimeError("a copy did not get away from its fork (os.register_at_fork?) in %d s" % FORK_SECONDS)
    if code > FORK_FAILED:
        raise RuntimeError("it cannot fork: " + os.strerror(code & ~FORK_FAILED))
    if code:
        raise RuntimeError("a copy has ended (%s %d)" % ("status" if code > 0 else "signal", abs(code)))


def fork_twice(fork):
    """None in this process, the number of the one between in its grandchild, which execd will inherit."""
    handler = signal.getsignal(signal.SIGCHLD)
    if handler not in (signal.SIG_DFL, None):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        middle = fork()
        if not middle:
            return be_middle(fork)
        check_middle(os.waitpid(middle, 0)[1])
        return None
    finally:
        if handler not in (signal.SIG_DFL, None):
            signal.signal(signal.SIGCHLD, handler)


# ---- what a copy cannot have ----------------------------------------------------------------------------------------

def descriptors():
    for name in os.listdir("/proc/self/fd"):
        try:
            yield int(name), os.readlink("/proc/self/fd/" + name), os.fstat(int(name))
        except OSError:
            pass  # the folder's own


def names_of_socket(fd):
    """Of both ends, as far as it has them."""
    sock = adopt(os.dup(fd))
    names = []
    for name in (sock.getsockname, sock.getpeername):
        try:
            names.append(name())
        except OSError:
            pass
    sock.close()
    return names


def holds_locks():
    """The first list names the process, and none for locks of open files, which the second has."""
    with open("/proc/locks") as locks:
        if any(line.replace("->", "").split()[4] == str(os.getpid()) for line in locks):
            return True
    for fd, _, _ in descriptors():
        try:
            with open("/proc/self/fdinfo/%d" % fd) as info:
                if any(line.startswith("lock:") for line in info):
                    return True
        except OSError:
            pass  # the folder's own
    return False


class Baseline:
    """What a kernel at rest has of its own; anything else of that kind is the user's."""

    def __init__(self, app, talk, streams):
        self.app, self.talk, self.streams = app, talk, streams
        for _ in range(1000):
            if hasattr(app.heartbeat, "socket"):  # made by its thread
                break
            time.sleep(0.001)
        self.n_tasks = len(os.listdir("/proc/self/task"))
        self.n_polls = sum(name == "anon_inode:[eventpoll]" for _, name, _ in descriptors())
        self.sockets = {status.st_ino for _, _, status in descriptors() if stat.S_ISSOCK(status.st_mode)}
        self.shared = self.shared_maps()
        self.pipe_ends = {fd for fd, _, status in descriptors() if stat.S_ISFIFO(status.st_mode)} - OUTPUTS.keys()

    def threads(self):
        app = self.app
        return {threading.main_thread(), app.heartbeat, app.iopub_thread.thread, app.control_thread,
                getattr(app, "shell_channel_thread", None), *(stream.watch_fd_thread for stream in self.streams)}

    def pipes(self):
        fds = [1, 2] + [stream._original_stdstream_copy for stream in self.streams]
        return {os.fstat(fd).st_ino for fd in fds}

    @staticmethod
    def shared_maps():
        with open("/proc/self/maps") as maps:
            return {tuple(line.split(None, 5)[4:]) for line in maps if re.match(r"\S+ .w.s", line)}

    # Each gives a reason or nothing.

    def threads_of_others(self):
        extra = [thread.name for thread in threading.enumerate() if thread not in self.threads()]
        if extra:
            return "it has threads of its own: " + ", ".join(extra[:4])
        return None if shed_threads(self.n_tasks) else "a library has started threads"

    def children(self):
        try:
            os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return None
        return "it has child processes"

    def open_things(self, passed):
        pipes, polls = self.pipes(), 0
        own_port = getattr(self.app.iopub_thread, "_pipe_port", 0)
        for fd, name, status in descriptors():
            if stat.S_ISSOCK(status.st_mode) and fd not in passed and status.st_ino not in self.sockets:
                ours = any(isinstance(name, str) and name.startswith(self.app.ip + "-") or name == ("127.0.0.1", own_port)
                           for name in names_of_socket(fd))
                if not ours:
                    return "it has an open socket (descriptor %d)" % fd
            elif stat.S_ISFIFO(status.st_mode) and status.st_ino not in pipes:
                return "it has an open pipe (descriptor %d)" % fd
            elif name.startswith(("/dev/nvidia", "/dev/kfd", "/dev/dri")):
                return "it uses a GPU (%s)" % name
            elif stat.S_ISCHR(status.st_mode) and name not in HARMLESS_DEVICES:
                return "it uses a device (%s)" % name
            elif stat.S_ISREG(status.st_mode) and status.st_nlink == 0:
                return "it has a file open that has no name (%s): copies would share it" % name.removesuffix(" (deleted)")
            elif stat.S_ISREG(status.st_mode) and not os.access("/proc/self/fd/%d" % fd, os.F_OK):
                return "it has a file open that cannot be opened again (%s)" % name
            elif name.startswith("anon_inode:") and name not in ("anon_inode:[eventfd]", "anon_inode:[eventpoll]"):
                return "it has an open %s" % name
            polls += name == "anon_inode:[eventpoll]"
        return "it has an event loop of its own" if polls > self.n_polls else None

    def tasks(self, main_loop):
        for task in asyncio.all_tasks(main_loop):
            frame = getattr(task.get_coro(), "cr_frame", None)
            if frame and not frame.f_globals.get("__name__", "").startswith(OWN_MODULES):
                return "it has tasks in its event loop"
        for handle in main_loop._scheduled:
            if not handle._cancelled and not (getattr(handle._callback, "__module__", None) or "").startswith(OWN_MODULES):
                return "it has timers in its event loop"
        return None

    def odds(self):
        if self.shared_maps() - self.shared:
            return "it shares memory with others"
        if any(signal.getitimer(which)[0] for which in (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)):
            return "it has set a timer"
        if holds_locks():
            return "it holds locks on files"
        if not self.may_start_again():
            return "it has given up the rights that a new kernel needs (setuid?)"
        if self.app.transport != "ipc":
            return "it is not reached by local sockets"
        return None

    def may_start_again(self):
        """A copy reads a file and makes sockets beside the one that this kernel has read."""
        file = self.app.abs_connection_file
        return (os.access(os.path.dirname(file), os.W_OK | os.X_OK, effective_ids=True)
                and os.access(file, os.R_OK, effective_ids=True))

    def obstacle(self, main_loop, passed):
        return (self.children() or self.open_things(passed) or self.tasks(main_loop) or self.odds()
                or self.threads_of_others())


# ---- the copy, parked -----------------------------------------------------------------------------------------------

# Fcntl tells these too. The name below is a symbolic link, and not that of a folder.
ONLY_WHEN_OPENED = os.O_CREAT | os.O_EXCL | os.O_TRUNC | os.O_NOFOLLOW | os.O_TMPFILE | os.O_DIRECTORY


def reopen_files():
    """Positions in files are shared by a fork: each copy opens its own, at the place where it was."""
    for fd, name, status in list(descriptors()):
        if not stat.S_ISREG(status.st_mode):
            continue
        import fcntl
        flags = fcntl.fcntl(fd, fcntl.F_GETFL)
        inheritable = os.get_inheritable(fd)
        fresh = os.open("/proc/self/fd/%d" % fd, flags & ~ONLY_WHEN_OPENED)
        os.lseek(fresh, os.lseek(fd, 0, os.SEEK_CUR), os.SEEK_SET)
        os.dup2(fresh, fd, inheritable)
        os.close(fresh)


def close_loop(loop):
    loop._selector.close()  # this process's descriptors only
    loop._ssock.close()
    loop._csock.close()
    loop._closed = True


def find_outputs(baseline, named):
    """Of the capture's pipes, or of what was there before it."""
    import fcntl
    pipes = {os.fstat(fd).st_ino: fd for fd in (2, 1)}
    OUTPUTS.clear()
    for fd, _, status in descriptors():
        if (stat.S_ISFIFO(status.st_mode) and fd not in named and fd not in baseline.pipe_ends
                and status.st_ino in baseline.pipes() and fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_ACCMODE == os.O_WRONLY):
            OUTPUTS[fd] = pipes.get(status.st_ino)


def lead(source, fds):
    for fd in fds:
        os.dup2(source, fd, os.get_inheritable(fd))


def let_go(baseline, main_loop, keep):
    """All that belonged to threads that this process does not have, and the objects that name its descriptors. The user's
    copies of the outputs keep their numbers, which objects of the user's name."""
    app = baseline.app
    GRAVEYARD.append((app.kernel, app.heartbeat, app.iopub_thread, app.control_thread, getattr(app, "shell_channel_thread", None),
                      app.context, main_loop, asyncio.all_tasks(main_loop), baseline.talk))
    for loop in gc.get_objects():
        if isinstance(loop, asyncio.BaseEventLoop) and not loop.is_closed():
            close_loop(loop)
    baseline.talk.close()
    null = os.open(os.devnull, os.O_RDWR)
    named = {0, 1, 2} | log_descriptors(app)
    find_outputs(baseline, named)
    lead(null, OUTPUTS)
    for fd, name, status in list(descriptors()):
        if fd in named:
            os.dup2(null, fd, fd < 3)
        elif fd not in keep and (stat.S_ISSOCK(status.st_mode) or stat.S_ISFIFO(status.st_mode) or name.startswith("anon_inode:")):
            os.close(fd)
    os.close(null)
    reopen_files()


def log_descriptors(app):
    """Where warnings of the kernel itself go: a copy of descriptor 2 from before its capture."""
    found = set()
    for handler in app.log.handlers:
        try:
            found.add(handler.stream.fileno())
        except (AttributeError, OSError, ValueError):
            pass
    return found


def park(copied, baseline, main_loop):
    """In the copy, out of the event loop: waits for requests. Returns in each kernel that comes of one."""
    sock = copied.sock
    try:
        let_go(baseline, main_loop, {sock.fileno(), *copied.groups})
        join(copied.request, copied.groups)
        for fd in copied.groups:
            os.close(fd)
        Patience.end()
        announce(copied.request, sock, copied.middle)
    except BaseException as error:
        sock.send(error_text(error))
        os._exit(5)
    request, talk, out, groups, middle = serve(sock, fork_alike, lambda: None)
    try:
        sock.close()
        join(request, groups)
        for fd in (1, 2, *log_descriptors(baseline.app)):
            os.dup2(out, fd, fd < 3)
        lead(out, OUTPUTS)
        for fd in (out, *groups):
            os.close(fd)
        reopen_files()
        Patience.end()
        announce(request, talk, middle)
    except BaseException as error:
        talk.send(error_text(error))
        os._exit(5)
    return request, talk


# ---- and a kernel again ---------------------------------------------------------------------------------------------

def capture_again(stream, name, app):
    """The same object, so that whoever holds it (a log handler of the user's) goes on writing to the client."""
    now, real = getattr(sys, name), getattr(sys, "__%s__" % name)
    setattr(sys, name, real)
    try:
        type(stream).__init__(stream, app.session, app.iopub_thread, name)
    finally:
        setattr(sys, name, now)


def revive(app, streams, connection_file):
    restore = random_states()  # making sockets draws numbers
    with open(connection_file) as text:
        info = json.load(text)
    asyncio.set_event_loop(asyncio.new_event_loop())
    app.connection_file = connection_file
    app.ip = info["ip"]
    for channel in ("shell", "iopub", "stdin", "control", "hb"):
        setattr(app, channel + "_port", info[channel + "_port"])
    app.session.pid = os.getpid()
    app.session.key = info["key"].encode()
    app.session.session = os.urandom(16).hex()
    atexit.unregister(app.close)
    app.context = None
    app.init_sockets()
    import logging
    del logging.getLogger("tornado").handlers[1:]  # one more by each init_sockets
    app.init_heartbeat()
    app.log_connection_info()
    for stream, name in zip(streams, ("stdout", "stderr")):
        capture_again(stream, name, app)
    for fd, captured in OUTPUTS.items():
        if captured:
            lead(captured, [fd])
    app.displayhook.pub_socket = app.iopub_socket
    shell = app.shell
    app.kernel_class.clear_instance()
    app.init_kernel()
    shell.kernel = shell.parent = app.kernel
    restore()
