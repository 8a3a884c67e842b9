"""A warm Python: imports what every kernel needs, stays single-threaded, and forks a kernel on each request.

Data inside execd, run behind control.py and checkpoint.py as `python -c`. Descriptor 3 is a SOCK_SEQPACKET socket: one
request a packet, a JSON object with the descriptors [talk, out, cgroup files...]. Before that execd hears "import NAME"
for each module of the user's, and "ready NOTE" or "failed REASON". The kernel itself answers on `talk`:
"here", with its credentials, then it waits for "go"; later it takes requests there (control.py). What goes wrong before
is said there as "error: ..."; execd then starts the kernel cold.
"""

PRELOAD = """ipykernel.kernelapp ipykernel.ipkernel ipykernel.zmqshell IPython.core.interactiveshell
tornado.platform.asyncio tornado.queues IPython.core.debugger IPython.core.oinspect sqlite3 IPython.core.completerlib
IPython.extensions.storemagic IPython.core.logger faulthandler""".split()
RLIMIT_LOCKS, PR_SET_PDEATHSIG = 10, 1
FLUSH_CHARACTERS = 1 << 20
WORD_MAX = 400  # bytes of what is told to execd while it gets warm


def say(sock, word, text):
    """A line of ASCII, so that it may be cut anywhere."""
    sock.send(("%s %s" % (word, " ".join(text.split()))).encode("ascii", "backslashreplace")[:WORD_MAX])


def what_is_missing():
    """Looked for first: else the first of its dependencies is blamed."""
    from importlib.util import find_spec
    return None if find_spec("ipykernel") else "ipykernel is not installed for " + sys.executable


def preload(names, sock):
    """Those of the user; what cannot be imported is left out. Each is announced: one may end this process."""
    missed = []
    for name in names:
        say(sock, "import", name)
        try:
            __import__(name)
        except ModuleNotFoundError as error:
            missed.append("no module named %s" % (error.name or name))
        except (Exception, SystemExit) as error:
            missed.append("%s: %s: %s" % (name, type(error).__name__, error))
    return "preload: " + "; ".join(missed) if missed else ""


def warm_up(extra, sock):
    """What is to be said of it, if anything."""
    # Otherwise each kernel imports the debugger's 150 modules for itself; taken back in the child.
    sys.modules["debugpy"] = None
    for name in PRELOAD:
        try:
            __import__(name)
        except ImportError:
            if name == PRELOAD[0]:
                raise
    note = preload(extra, sock)
    if "numpy" in sys.modules:
        import numpy.random  # whose numbers begin anew in each kernel
    gc.collect()
    gc.freeze()
    return note


def join(request, groups):
    os.setsid()
    for fd in groups:
        os.write(fd, b"0")
    if request["tag"]:
        import resource
        resource.setrlimit(RLIMIT_LOCKS, (request["tag"], request["tag"]))


def announce(request, talk, middle):
    while os.getppid() == middle:  # execd can wait for us only once we are its own
        os.sched_yield()
    if request["die_with_parent"]:
        import ctypes
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    talk.send(b"here")
    if talk.recv(16) != b"go":
        os._exit(0)


def become_kernel(request, talk, out, groups, middle):
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed()  # not by a hook, which would act on forks of the user's too
    join(request, groups)
    null = os.open(os.devnull, os.O_RDWR)
    for source, target in ((null, 0), (out, 1), (out, 2)):
        os.dup2(source, target)
    keep = talk.fileno()
    os.closerange(3, keep)
    os.closerange(keep + 1, 65536)
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["env"])
    time.tzset()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    announce(request, talk, middle)


def flush_by_size():
    """ipykernel sends what a cell has printed every 200 ms, however much it is: here every megabyte too. Memory stays
    bounded on both sides, and no message grows beyond what execd takes."""
    from ipykernel.iostream import OutStream
    write = OutStream.write

    def write_and_flush(stream, text):
        n = write(stream, text)
        waiting = getattr(stream, "execd_waiting", 0) + len(text)
        if waiting >= FLUSH_CHARACTERS:
            stream.flush()
            waiting = 0
        stream.execd_waiting = waiting
        return n

    OutStream.write = write_and_flush


def never_drop(app):
    """A full queue makes a publisher drop messages without a word: here it may grow, in this process's own memory, while
    execd reads no more than it can bear."""
    init_iopub = app.init_iopub

    def init_iopub_unlimited(self, context):
        usual, context.sndhwm = 1000, 0  # defaults of the sockets that are made next
        init_iopub(self, context)
        context.sndhwm = usual

    app.init_iopub = init_iopub_unlimited


class NoModules:
    """`sys` as ipykernel sees it while it starts: it lists the files of all modules for a debugger that is not there, and
    whoever is looked at has its page copied: 1 MB, and 4 MB with numpy, pandas and matplotlib."""
    modules = {}

    def __getattr__(self, name):
        return getattr(sys, name)


def new_kernel(arguments):
    from ipykernel import ipkernel
    from ipykernel.kernelapp import IPKernelApp
    flush_by_size()
    never_drop(IPKernelApp)
    sys.argv = ["ipykernel_launcher", *arguments]
    app = IPKernelApp.instance()
    ipkernel.sys = NoModules()
    app.initialize([*arguments, "--HistoryManager.hist_file=:memory:"])
    ipkernel.sys = sys
    if sys.modules.get("debugpy", app) is None:
        del sys.modules["debugpy"]
    return app


def run_kernel(request, talk, packages):
    """To its end; copies of it run on from here as kernels of their own."""
    from tornado.ioloop import IOLoop
    app = new_kernel(request["arguments"])
    streams = sys.stdout, sys.stderr
    while True:
        control = Control(talk, app, request.get("env", {}), packages, streams)
        control.attach(IOLoop.current().asyncio_loop)
        try:
            app.start()
            break
        except Copied as copied:
            control.copied = None
            request, talk = park(copied, control.baseline, control.loop)
            del control, copied
        revive(app, streams, request["connection_file"])
    atexit._run_exitfuncs()


def serve(sock, fork, check):
    """Waits; returns in each process that is to become a kernel."""
    while True:
        request, fds = receive(sock)
        if request is None:
            os._exit(0)
        talk = adopt(fds[0])
        why = check()
        if why:
            talk.send(b"error: " + why.encode())
            os._exit(3)
        try:
            middle = fork_twice(fork)
        except (OSError, RuntimeError, MemoryError) as error:  # the next one may succeed
            middle = None
            talk.send(error_text(error))
        if middle:
            return request, talk, fds[1], fds[2:], middle
        for fd in fds[1:]:
            os.close(fd)
        talk.close()


def check_warm(packages):
    if not shed_threads(1):
        return "a preloaded module has started threads"
    return "packages have changed since the warm start" if packages.have_changed() else None


def cold(arguments):
    """The same kernel without the warm start: as `-m ipykernel_launcher`, but for its output."""
    talk = socket.socket(fileno=3)
    talk.set_inheritable(False)
    missing = what_is_missing()
    if missing:
        sys.exit(missing)
    sys.modules["debugpy"] = None
    run_kernel({"arguments": arguments, "env": dict(os.environ)}, talk, Packages())


def main():
    if len(sys.argv) > 1:
        return cold(sys.argv[1:])
    sock = socket.socket(fileno=3)
    sock.set_inheritable(False)
    try:
        missing = what_is_missing()
        note = missing or warm_up([name for name in os.environ.pop("EXECD_PRELOAD", "").split(",") if name], sock)
    except BaseException as error:
        missing = note = "%s: %s" % (type(error).__name__, error)
    say(sock, "failed" if missing else "ready", note)
    if missing:
        os._exit(6)
    packages = Packages()
    request, talk, out, groups, middle = serve(sock, os.fork, lambda: check_warm(packages))
    try:
        sock.close()
        become_kernel(request, talk, out, groups, middle)
    except BaseException as error:
        talk.send(("error: %s: %s" % (type(error).__name__, error)).encode()[:500])
        os._exit(5)
    try:
        run_kernel(request, talk, packages)
    except SystemExit:
        pass
    except BaseException:
        import traceback
        traceback.print_exc(file=sys.__stderr__)
        sys.__stderr__.flush()
        os._exit(1)
    os._exit(0)


main()
