"""Kernels copied at rest: back to a checkpoint, on from it elsewhere, or a refusal that names what is in the way."""

import hashlib
import json
import os
import random
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from harness import python_kernels
from harness.execd import EXECD, Execd, children, eventually, sse_events
from harness.python_kernels import create, run, start_with_python


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """Starts an execd whose python can be forked; it is warm when it comes."""
    started = []

    def start(*options):
        folder = tmp_path_factory.mktemp("checkpoint")
        execd = start_with_python(partial(Execd, folder), folder, "--kernel-pool", "0", *options)
        started.append(execd)
        eventually(lambda: forked(execd))
        return execd

    yield start
    for execd in started:
        assert execd.stop() == 0


@pytest.fixture(scope="module")
def execd(start):
    return start()


def forked(execd):
    """A context of a kernel that was forked; None when it was not."""
    context = create(execd)
    if context["start"] == "forked":
        return context
    execd.client.delete(f"/code/contexts/{context['id']}")
    return None


@pytest.fixture
def context(execd):
    context = create(execd)
    assert context["start"] == "forked"
    yield context
    execd.client.delete("/code/contexts", params={"language": "python"})


def printed(execd, context, code):
    return python_kernels.printed(execd, context, code).strip()


def post(execd, context, what, **body):
    return execd.client.post(f"/code/contexts/{context['id']}/{what}", json=body or None, timeout=30)


def good(response):
    assert response.status_code == 200, response.text
    return response.json()


def checkpoint(execd, context):
    return good(post(execd, context, "checkpoint"))["id"]


def listed(execd, context):
    return good(execd.client.get(f"/code/contexts/{context['id']}/checkpoints"))


def test_back_to_where_it_was(execd, context):
    printed(execd, context, "x = [1]; f = open('/etc/passwd'); first = f.readline(); import random; random.seed(5)")
    made = good(post(execd, context, "checkpoint"))
    assert made["state"] == "ready" and made["context_id"] == context["id"] and made["bytes"] > 0
    after = printed(execd, context, "print(f.readline(), random.random())")
    printed(execd, context, "x.append(2); del first")
    for _ in range(2):  # it stays
        back = good(post(execd, context, "rewind", checkpoint=made["id"]))
        assert (back["id"], back["start"], back["state"]) == (context["id"], "checkpoint", "idle")
        assert printed(execd, context, "print(f.readline(), random.random())") == after
        assert printed(execd, context, "print(x, bool(first), len(In))") == "[1] True 4"
    assert [c["id"] for c in listed(execd, context)] == [made["id"]]


def test_output_errors_and_interrupts_work_as_before(execd, context):
    printed(execd, context, "import logging, sys; logging.basicConfig(stream=sys.stdout, format='%(message)s')")
    good(post(execd, context, "rewind", checkpoint=checkpoint(execd, context)))
    assert printed(execd, context, "logging.warning('through an old handle')") == "through an old handle"
    assert "from a child" in printed(execd, context, "import subprocess; print(subprocess.run(['echo', 'from a child'], capture_output=True, text=True).stdout)")
    printed(execd, context, "class Loud:\n    def write(self, text): old.write(text.upper())\n    def flush(self): old.flush()\nold, sys.stdout = sys.stdout, Loud()")
    good(post(execd, context, "rewind", checkpoint=checkpoint(execd, context)))
    assert [e["results"]["text/plain"] for e in run(execd, context, "type(sys.stdout).__name__") if e["type"] == "result"] == ["'Loud'"]
    printed(execd, context, "sys.stdout = old")
    assert run(execd, context, "1/0")[-1]["error"]["ename"] == "ZeroDivisionError"
    with execd.client.stream("POST", "/code", json={"code": "print('on', flush=True)\nwhile True: pass", "context": {"id": context["id"], "language": "python"}}) as response:
        pieces = response.iter_text()
        text = next(pieces)
        while '"on' not in text:
            text += next(pieces)
        assert execd.client.delete("/code", params={"id": context["id"]}).status_code == 200
        text += "".join(pieces)
    assert sse_events(text)[-1]["error"]["ename"] == "KeyboardInterrupt"
    events = run(execd, context, "6 * 7")
    assert [e["results"]["text/plain"] for e in events if e["type"] == "result"] == ["42"]


def test_branches_go_their_own_ways(execd, context):
    printed(execd, context, "import os; os.chdir('/tmp'); os.environ['MARK'] = 'here'; x = 1")
    origin = checkpoint(execd, context)
    branches = [good(post(execd, context, "branch", checkpoint=origin)) for _ in range(3)]
    assert len({b["id"] for b in branches} | {context["id"]}) == 4
    for i, branch in enumerate(branches):
        assert printed(execd, branch, f"x += {i + 10}; print(x, os.getcwd(), os.environ['MARK'])") == f"{i + 11} /tmp here"
    assert printed(execd, context, "print(x)") == "1"
    assert len({printed(execd, c, "print(os.getpid())") for c in [context, *branches]}) == 4
    assert printed(execd, branches[0], "import uuid; print(uuid.uuid4())") != printed(execd, branches[1], "import uuid; print(uuid.uuid4())")


def test_a_branch_without_a_checkpoint_makes_one(execd, context):
    printed(execd, context, "x = 'now'")
    branch = good(post(execd, context, "branch"))
    assert printed(execd, branch, "print(x)") == "now" and len(listed(execd, context)) == 1
    again = good(post(execd, branch, "branch"))
    assert printed(execd, again, "print(x)") == "now"


def test_generations_do_not_pile_up(execd, context):
    count = "import os; print(len(os.listdir('/proc/self/fd')), len(os.listdir('/proc/self/task')))"
    printed(execd, context, "generation = 0")
    counts = []
    for i in range(8):
        good(post(execd, context, "rewind", checkpoint=checkpoint(execd, context)))
        counts.append(printed(execd, context, count))
        assert printed(execd, context, "generation += 1; print(generation)") == str(i + 1)
    assert len(set(counts[1:])) == 1, counts


def open_writer(pipe):
    """None while nobody reads it."""
    try:
        return os.open(pipe, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return None


def test_what_hangs_or_ends_at_its_fork_is_refused(execd, context):
    printed(execd, context, "import os, time\nwhat = time.sleep\nos.register_at_fork(after_in_child=lambda: what(1000))")
    response = post(execd, context, "checkpoint")
    assert response.status_code == 409 and "register_at_fork" in response.json()["message"], response.text
    assert printed(execd, context, "what = lambda _: os._exit(3)\nprint('goes on')") == "goes on"
    assert "has ended (status 3)" in post(execd, context, "checkpoint").json()["message"]
    printed(execd, context, "def what(_):\n    global what\n    def what(_): os._exit(4)")  # only the second fork's
    assert "new process ended" in post(execd, context, "checkpoint").json()["message"]
    printed(execd, context, "what = abs\nimport signal; signal.signal(signal.SIGALRM, lambda *_: print('alarm'))")
    good(post(execd, context, "rewind", checkpoint=checkpoint(execd, context)))
    assert printed(execd, context, "print(signal.alarm(0)); signal.raise_signal(signal.SIGALRM)") == "0\nalarm"


def test_copies_of_the_outputs_go_on(execd, context):
    printed(execd, context, "import os; saved = [os.dup(1), os.dup(2)]")
    for _ in range(3):
        good(post(execd, context, "rewind", checkpoint=checkpoint(execd, context)))
        links = "print(*[os.readlink(f'/proc/self/fd/{a}') == os.readlink(f'/proc/self/fd/{b}') for a, b in zip(saved, (1, 2))])"
        assert printed(execd, context, links) == "True True"
        write = "import time; _ = os.write(saved[0], b'1234567\\n'); time.sleep(.05)"  # a thread of the kernel's reads it
        assert any("1234567" in printed(execd, context, write) for _ in range(50))


def test_files_of_databases_and_temporary_ones_come_along(execd, context, tmp_path):
    printed(execd, context, f"import sqlite3, tempfile; d = sqlite3.connect({str(tmp_path / 'd.db')!r}); d.execute('create table t (x)'); d.commit()\n"
            "f = tempfile.NamedTemporaryFile('w+'); _ = f.write('one'); f.flush()")
    branch = good(post(execd, context, "branch"))
    for i, where in enumerate((context, branch)):
        assert printed(execd, where, "_ = d.execute('insert into t values (1)'); d.commit(); print(d.execute('select count(*) from t').fetchone(), f.tell())") == f"({i + 1},) 3"


def test_without_rights_there_is_no_copy(execd, context):
    if os.geteuid() != 0:
        pytest.skip("needs root")
    printed(execd, context, "import os; x = 1; os.setegid(65534); os.seteuid(65534)")
    assert "rights" in post(execd, context, "checkpoint").json()["message"]
    printed(execd, context, "os.seteuid(0); os.setegid(0)")
    checkpoint(execd, context)


def test_a_dead_kernel_lives_again(execd, context):
    printed(execd, context, "x = 5")
    origin = checkpoint(execd, context)
    assert run(execd, context, "import os; os._exit(3)")[-1]["error"]["ename"] == "KernelDied"
    good(post(execd, context, "rewind", checkpoint=origin))
    assert printed(execd, context, "print(x)") == "5"


def test_a_running_cell_is_given_up_by_a_rewind(execd, context):
    origin = checkpoint(execd, context)
    with execd.client.stream("POST", "/code", json={"code": "print('on', flush=True)\nwhile True: pass", "context": {"id": context["id"], "language": "python"}}) as response:
        pieces = response.iter_text()
        text = next(pieces)
        while '"on' not in text:
            text += next(pieces)
        refused = execd.new_client().post(f"/code/contexts/{context['id']}/checkpoint")
        assert refused.status_code == 409 and "under way" in refused.json()["message"]
        assert execd.new_client().post(f"/code/contexts/{context['id']}/rewind", json={"checkpoint": origin}).status_code == 200
        text += "".join(pieces)
    assert sse_events(text)[-1]["error"]["ename"] == "KernelRestarted"
    assert printed(execd, context, "print('free')") == "free"


REFUSALS = {
    "thread": ("import threading, time; go = True\nt = threading.Thread(target=lambda: [time.sleep(.01) for _ in iter(lambda: go, False)]); t.start()",
               "threads of its own", "go = False; t.join()"),
    "socket": ("import socket; s = socket.socket()", "open socket", "s.close()"),
    "listening": ("import socket; s = socket.create_server(('127.0.0.1', 0))", "open socket", "s.close()"),
    "pipe": ("import os; p = os.pipe()", "open pipe", "[os.close(fd) for fd in p]"),
    "child": ("import subprocess; c = subprocess.Popen(['sleep', '60'])", "child processes", "c.kill(); c.wait()"),
    "shared memory": ("import mmap; m = mmap.mmap(-1, 4096)", "shares memory", "m.close()"),
    "task": ("import asyncio\nasync def tick(): await asyncio.sleep(60)\nt = asyncio.get_running_loop().create_task(tick())\nawait asyncio.sleep(0)", "tasks in its event loop", "t.cancel()"),
    "loop": ("import select; e = select.epoll()", "event loop of its own", "e.close()"),
    "timer": ("import signal; _ = signal.alarm(600)", "set a timer", "_ = signal.alarm(0)"),
    "device": ("f = open('/dev/ptmx', 'rb+', buffering=0)", "uses a device", "f.close()"),
    "library": ("import ctypes; c = ctypes.CDLL(None); t = ctypes.c_ulong(); _ = c.pthread_create(ctypes.byref(t), None, c.sleep, ctypes.c_void_p(600))",
                "a library has started threads", "_ = c.pthread_cancel(t), c.pthread_join(t, None)"),
    "lock": ("import fcntl, tempfile; f = tempfile.NamedTemporaryFile(); fcntl.flock(f, fcntl.LOCK_EX)", "locks on files", "f.close()"),
    "lock of an open file": ("import fcntl, struct, tempfile; f = tempfile.NamedTemporaryFile(); _ = fcntl.fcntl(f, 37, struct.pack('hhqqi4x', fcntl.F_WRLCK, 0, 0, 0, 0))",
                             "locks on files", "f.close()"),
    "closed input": ("import os; n = os.dup(0); os.close(0)", "descriptor 0 is closed", "_ = os.dup2(n, 0)"),
    "memory file": ("import os; m = os.memfd_create('mine')", "(/memfd:mine)", "os.close(m)"),
    "unlinked file": ("import tempfile; f = tempfile.TemporaryFile()", "no name", "f.close()"),
    "notification": ("import ctypes, os; i = ctypes.CDLL(None).inotify_init()", "inotify", "os.close(i)"),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_what_a_fork_would_lose_is_refused_by_name(execd, context, case):
    there, words, gone = REFUSALS[case]
    printed(execd, context, there)
    for what in ("checkpoint", "branch"):
        response = post(execd, context, what)
        assert response.status_code == 409 and response.json()["code"] == "CHECKPOINT_REFUSED", response.text
        assert words in response.json()["message"]
    assert listed(execd, context) == []
    printed(execd, context, gone)
    good(post(execd, context, "rewind", checkpoint=checkpoint(execd, context)))


LIMITED = "import resource; x = 5; resource.setrlimit(resource.RLIMIT_AS, (%d << 20, resource.RLIM_INFINITY))"


@pytest.mark.parametrize("megabytes", [1, 300])
def test_a_kernel_at_its_memory_limit_lives_on(execd, context, megabytes):
    pid = int(printed(execd, context, "import os; print(os.getpid())"))
    printed(execd, context, LIMITED % megabytes)
    response = post(execd, context, "checkpoint")
    assert response.status_code == 409 or response.json()["state"] == "ready", response.text
    printed(execd, context, "resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))")
    assert printed(execd, context, "print(x, os.getpid())") == f"5 {pid}"
    good(post(execd, context, "rewind", checkpoint=checkpoint(execd, context)))


def test_a_cold_kernel_is_copied_too(execd):
    cold = good(execd.client.post("/code/context", json={"language": "python", "envs": {"PYTHONHASHSEED": "1"}}, timeout=60))
    assert cold["start"] == "cold"
    printed(execd, cold, "x = [1]")
    origin = checkpoint(execd, cold)
    assert printed(execd, cold, "x.append(2); print(x)") == "[1, 2]"
    branch = good(post(execd, cold, "branch", checkpoint=origin))
    assert printed(execd, branch, "import os; print(x, os.environ['PYTHONHASHSEED'])") == "[1] 1"
    good(post(execd, cold, "rewind", checkpoint=origin))
    assert printed(execd, cold, "print(x)") == "[1]"


def test_other_kernels_cannot_be_copied(execd):
    spec = execd.folder / "share/kernels/other/kernel.json"
    spec.parent.mkdir(parents=True)
    start = f"exec {sys.executable} -m ipykernel_launcher -f {{connection_file}}"
    spec.write_text(json.dumps({"argv": ["sh", "-c", start], "display_name": "Other", "language": "other"}))
    other = good(execd.client.post("/code/context", json={"language": "other"}, timeout=60))
    response = post(execd, other, "checkpoint")
    assert response.status_code == 409 and "ipykernel" in response.json()["message"]


def test_ids_and_bodies(execd, context):
    origin = checkpoint(execd, context)
    other = create(execd)
    for response in (post(execd, other, "rewind", checkpoint=origin), post(execd, other, "branch", checkpoint=origin),
                     post(execd, context, "rewind", checkpoint="0" * 32),
                     execd.client.delete(f"/code/contexts/{other['id']}/checkpoints/{origin}")):
        assert response.status_code == 404 and "no checkpoint" in response.json()["message"]
    nobody = {"id": "00000000-0000-4000-8000-000000000000"}
    for what in ("checkpoint", "rewind", "branch"):
        assert post(execd, nobody, what).status_code == 404
    assert execd.client.get(f"/code/contexts/{nobody['id']}/checkpoints").status_code == 404
    for body in ({}, {"checkpoint": 5}, {"checkpoint": "x" * 100}):
        assert execd.client.post(f"/code/contexts/{context['id']}/rewind", json=body).status_code == 400
    assert execd.client.delete(f"/code/contexts/{context['id']}/checkpoints/{origin}").status_code == 200
    assert listed(execd, context) == [] and post(execd, context, "rewind", checkpoint=origin).status_code == 404


def test_one_that_dies_says_so(execd, context):
    known = {pid for pid, _ in children(execd.pid)}
    origin = checkpoint(execd, context)
    (pid,) = {pid for pid, _ in children(execd.pid)} - known
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: [c["state"] for c in listed(execd, context)] == ["gone"])
    assert "died" in listed(execd, context)[0]["reason"]
    assert "died" in post(execd, context, "rewind", checkpoint=origin).json()["message"]
    assert printed(execd, context, "print('unharmed')") == "unharmed"


def test_a_timeout_for_the_users_sockets_is_not_one_for_ours(execd, context):
    printed(execd, context, "import socket, time\nsocket.setdefaulttimeout(0.2)\nx = 'saved'")
    origin = checkpoint(execd, context)
    printed(execd, context, "x = 'later'; time.sleep(0.6)")
    assert [c["state"] for c in listed(execd, context)] == ["ready"]
    good(post(execd, context, "rewind", checkpoint=origin))
    assert printed(execd, context, "print(x, socket.getdefaulttimeout())") == "saved 0.2"


def test_a_question_whether_it_can_be_copied_leaves_the_users_sockets_alone(execd, context):
    printed(execd, context, "import os, socket\na, b = socket.socketpair()\nsocket.setdefaulttimeout(0.2)")
    assert "socket" in post(execd, context, "checkpoint").json()["message"]
    assert printed(execd, context, "print(a.gettimeout(), os.get_blocking(a.fileno()))") == "None True"


def test_a_stopped_one_wakes_for_a_rewind(execd, context):
    known = {pid for pid, _ in children(execd.pid)}
    printed(execd, context, "x = 'saved'")
    origin = checkpoint(execd, context)
    (pid,) = {pid for pid, _ in children(execd.pid)} - known
    os.kill(pid, signal.SIGSTOP)
    printed(execd, context, "x = 'later'")
    good(post(execd, context, "rewind", checkpoint=origin))
    assert printed(execd, context, "print(x)") == "saved"


def test_a_rewind_that_fails_costs_nothing(execd, context):
    printed(execd, context, "import os, time\nwhat = abs\nos.register_at_fork(after_in_child=lambda: what(1))\nx = 'saved'\n"
            "def arm():\n    global what\n    what = lambda _: os._exit(3) if os.path.exists(flag) else None")
    flag = execd.folder / "no-births"
    printed(execd, context, f"flag = {str(flag)!r}; arm()")
    origin = checkpoint(execd, context)
    printed(execd, context, "x = 'precious'")
    flag.touch()
    response = post(execd, context, "rewind", checkpoint=origin)
    assert response.status_code == 409 and "(status 3)" in response.json()["message"], response.text
    assert printed(execd, context, "print(x)") == "precious"
    flag.unlink()
    assert [c["state"] for c in listed(execd, context)] == ["ready"]
    good(post(execd, context, "rewind", checkpoint=origin))
    assert printed(execd, context, "print(x)") == "saved"


@pytest.mark.parametrize("what", ["again", "restart", "delete", "death"])
def test_what_comes_while_a_rewind_is_under_way(execd, context, what, tmp_path):
    """Its copy hangs at its fork until something is written to a pipe."""
    pipe = tmp_path / "pipe"
    printed(execd, context, f"import os; x = 'saved'; os.register_at_fork(after_in_child=lambda: os.path.exists({str(pipe)!r}) and open({str(pipe)!r}).read())")
    pid = int(printed(execd, context, "print(os.getpid())"))
    origin = checkpoint(execd, context)
    printed(execd, context, "x = 'later'")
    os.mkfifo(pipe)
    client = execd.new_client(timeout=30)
    with ThreadPoolExecutor(1) as pool:
        rewound = pool.submit(client.post, f"/code/contexts/{context['id']}/rewind", json={"checkpoint": origin})
        writer = eventually(lambda: open_writer(pipe))  # it hangs there
        assert printed(execd, context, "print(x)") == "later"
        if what == "again":
            assert "already" in post(execd, context, "rewind", checkpoint=origin).json()["message"]
        elif what == "delete":
            assert execd.client.delete(f"/code/contexts/{context['id']}").status_code == 200
        elif what == "death":
            os.kill(pid, signal.SIGKILL)
        else:
            good(execd.client.post(f"/api/kernels/{context['id']}/restart"))
        pipe.unlink()
        os.close(writer)
        answer = rewound.result(30)
    if what in ("again", "death"):
        assert good(answer)["start"] == "checkpoint" and printed(execd, context, "print(x)") == "saved"
    else:
        assert answer.status_code == 409 and what in answer.json()["message"], answer.text
    if what == "restart":
        assert printed(execd, context, "print('x' in globals())") == "False"


def test_a_context_takes_its_checkpoints_along(execd, context):
    known = {pid for pid, _ in children(execd.pid)}
    for _ in range(3):
        checkpoint(execd, context)
    branch = good(post(execd, context, "branch"))
    assert execd.client.delete(f"/code/contexts/{context['id']}").status_code == 200
    kernel = int(printed(execd, branch, "import os; print(os.getpid())"))
    eventually(lambda: {pid for pid, _ in children(execd.pid)} - known == {kernel})


def test_the_oldest_go_first(start):
    execd = start("--checkpoints-max", "3")
    context = create(execd)
    ids = []
    for i in range(3):
        printed(execd, context, f"x = {i}")
        ids.append(checkpoint(execd, context))
    good(post(execd, context, "rewind", checkpoint=ids[0]))  # a use: now the second is the oldest
    ids.append(checkpoint(execd, context))
    rows = {c["id"]: c for c in listed(execd, context)}
    assert [rows[i]["state"] for i in ids] == ["ready", "gone", "ready", "ready"]
    assert "evicted" in rows[ids[1]]["reason"]
    assert "evicted" in post(execd, context, "rewind", checkpoint=ids[1]).json()["message"]


def test_memory_is_bounded(start):
    execd = start("--checkpoint-memory", "100Mi")
    context = create(execd)
    printed(execd, context, "x = bytearray(b'1' * 60_000_000)")
    first = checkpoint(execd, context)
    printed(execd, context, "x[:] = b'2' * len(x)")  # now the first has 60 MB for itself
    second = checkpoint(execd, context)
    printed(execd, context, "x[:] = b'3' * len(x)")
    eventually(lambda: [c["state"] for c in listed(execd, context)] == ["gone", "ready"])
    assert "more memory" in listed(execd, context)[0]["reason"]
    good(post(execd, context, "rewind", checkpoint=second))
    assert printed(execd, context, "print(x[0], x[-1])") == "50 50"
    assert post(execd, context, "rewind", checkpoint=first).status_code == 404


def test_they_can_be_switched_off(start):
    execd = start("--checkpoints-max", "0")
    context = create(execd)
    assert post(execd, context, "checkpoint").status_code == 409
    for option, wrong in (("--checkpoints-max", "65"), ("--checkpoint-memory", "much")):
        assert subprocess.run([EXECD, option, wrong], capture_output=True).returncode != 0


STATE = "import hashlib; print(hashlib.sha256(repr((sorted(d.items()), n, random.getstate())).encode()).hexdigest())"


def test_random_sequences_agree_with_a_model(execd):
    """The model is plain Python: a dictionary, a number and a generator per context, copied at each checkpoint."""
    rng = random.Random(20)
    seed = create(execd)
    printed(execd, seed, "import random; random.seed(1); d = {}; n = 0")
    model = random.Random(1)
    contexts = {seed["id"]: ({}, 0, model.getstate())}
    saved = {}

    def state_hash(state):
        d, n, generator = state
        return hashlib.sha256(repr((sorted(d.items()), n, generator)).encode()).hexdigest()

    for _ in range(40):
        key = rng.choice(list(contexts))
        context, (d, n, generator) = {"id": key}, contexts[key]
        own = [c for c, (owner, _) in saved.items() if owner == key]
        step = rng.choice(["run", "run", "checkpoint", "rewind", "branch"])
        if step == "run":
            k = rng.randrange(5)
            printed(execd, context, f"d[{k}] = random.random(); n += {k}")
            draw = random.Random()
            draw.setstate(generator)
            contexts[key] = ({**d, k: draw.random()}, n + k, draw.getstate())
        elif step == "checkpoint" and len(own) < 8:
            saved[checkpoint(execd, context)] = (key, contexts[key])
        elif step == "rewind" and own:
            origin = rng.choice(own)
            good(post(execd, context, "rewind", checkpoint=origin))
            contexts[key] = saved[origin][1]
        elif step == "branch" and own and len(contexts) < 6:
            origin = rng.choice(own)
            contexts[good(post(execd, context, "branch", checkpoint=origin))["id"]] = saved[origin][1]
        assert printed(execd, context, STATE) == state_hash(contexts[key]), step
    for key, state in contexts.items():
        assert printed(execd, {"id": key}, STATE) == state_hash(state)
        execd.client.delete(f"/code/contexts/{key}")
