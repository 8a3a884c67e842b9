"""Kernels forked from a warm interpreter: as good as cold ones, and cold ones whenever that is not safe."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from harness.execd import EXECD, children, eventually, sse_events
from harness.python_kernels import create, printed, run, start_with_python


@pytest.fixture
def agent(start_execd, tmp_path):
    """An execd whose python is an environment of its own, so that a test may install something into it."""
    started = []

    def start(*options):
        started.append(start_with_python(start_execd, tmp_path, "--kernel-pool", "0", *options))
        return started[-1]

    yield start
    for execd in started:
        execd.stop()


def warm(execd, **body):
    """A context that was forked; the first one starts cold and warms the interpreter up."""
    deadline = time.monotonic() + 30
    while True:
        context = create(execd, **body)
        if context["start"] == "forked":
            return context
        assert "warmed up" in context["start_note"], context
        assert execd.client.delete(f"/code/contexts/{context['id']}").status_code == 200
        assert time.monotonic() < deadline
        time.sleep(0.1)


def zygotes(execd):
    found = []
    for pid, _ in children(execd.pid):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:  # its kernels keep this, but have threads
                if b"A warm Python" in file.read() and len(os.listdir(f"/proc/{pid}/task")) == 1:
                    found.append(pid)
        except OSError:
            pass
    return found


def test_a_forked_kernel_is_as_good_as_a_cold_one(agent, tmp_path):
    execd = agent()
    context = warm(execd, cwd=str(tmp_path / "work"), envs={"MINE": "a b"})
    assert printed(execd, context, "import os; print(os.getcwd(), os.environ['MINE'], os.getppid())") == f"{tmp_path}/work a b {execd.pid}\n"
    assert printed(execd, context, "x = 6\nprint(x * 7)") == "42\n"
    assert printed(execd, context, "!echo from a shell").strip() == "from a shell"
    events = run(execd, context, "1/0")
    assert events[-1]["error"]["ename"] == "ZeroDivisionError"
    assert printed(execd, context, "import subprocess; print(subprocess.run(['echo', 'sub'], capture_output=True, text=True).stdout)") == "sub\n\n"
    assert printed(execd, context, "input = None; import __main__; print(hasattr(__main__, 'PRELOAD'))") == "False\n"
    assert [e["results"]["text"] for e in run(execd, context, "2 + 2") if e["type"] == "result"] == ["4"]


def test_forked_kernels_share_nothing(agent):
    execd = agent()
    contexts = [warm(execd) for _ in range(3)]
    draw = "import random, uuid, os, secrets; print(random.random(), uuid.uuid4(), secrets.token_hex(), os.getpid())"
    drawn = [printed(execd, context, draw).split() for context in contexts]
    for column in zip(*drawn):
        assert len(set(column)) == 3
    run(execd, contexts[0], "import os; os.environ['LEAK'] = 'x'; leak = 1")
    assert printed(execd, contexts[1], "import os; print('LEAK' in os.environ, 'leak' in dir())") == "False False\n"
    descriptors = printed(execd, contexts[2], "import os; print([os.readlink(f'/proc/self/fd/{n}') for n in os.listdir('/proc/self/fd') if os.path.exists(f'/proc/self/fd/{n}')])")
    assert "cgroup" not in descriptors and str(execd.socket) not in descriptors


def test_interrupt_and_end(agent):
    execd = agent()
    context = warm(execd)
    with execd.client.stream("POST", "/code", json={"code": "print('on', flush=True)\nwhile True: pass", "context": {"id": context["id"], "language": "python"}}) as response:
        pieces = response.iter_text()
        text = next(pieces)
        while '"on' not in text:
            text += next(pieces)
        assert execd.client.delete("/code", params={"id": context["id"]}).status_code == 200
        text += "".join(pieces)
    assert sse_events(text)[-1]["error"]["ename"] == "KeyboardInterrupt"
    assert printed(execd, context, "print('still')") == "still\n"
    events = run(execd, context, "import os; os._exit(3)")
    assert events[-1]["error"]["ename"] == "KernelDied" and "exit status 3" in events[-1]["error"]["evalue"]
    pid = int(printed(execd, warm(execd), "import os; print(os.getpid())"))
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))


def test_deleted_contexts_leave_nothing(agent):
    execd = agent()
    contexts = [warm(execd) for _ in range(3)]
    pids = [int(printed(execd, context, "import os; print(os.getpid())")) for context in contexts]
    for context in contexts:
        assert execd.client.delete(f"/code/contexts/{context['id']}").status_code == 200
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    assert os.listdir(execd.extra.parent / "run") == []


def test_a_dead_zygote_is_replaced(agent):
    execd = agent()
    context = warm(execd)
    (pid,) = zygotes(execd)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: not os.path.exists(f"/proc/{pid}"))
    assert printed(execd, context, "print('its kernels live on')") == "its kernels live on\n"
    warm(execd)
    assert zygotes(execd) != [pid]


def test_one_that_dies_again_and_again_is_left_alone(agent):
    execd = agent()
    for _ in range(3):
        eventually(lambda: create(execd) and zygotes(execd))
        for pid in zygotes(execd):
            os.kill(pid, signal.SIGKILL)
        eventually(lambda: not zygotes(execd))
    for _ in range(3):
        assert create(execd)["start"] == "cold"
        time.sleep(0.2)
        assert not zygotes(execd)


def test_installed_packages_make_the_next_start_cold(agent):
    execd = agent()
    warm(execd)
    (execd.extra / "fresh_module.py").write_text("value = 5\n")
    context = create(execd)
    assert context["start"] == "cold" and "packages have changed" in context["start_note"]
    assert printed(execd, context, "import fresh_module; print(fresh_module.value)") == "5\n"
    assert printed(execd, warm(execd), "import fresh_module; print(fresh_module.value)") == "5\n"


def test_threads_that_a_library_ends_before_a_fork_are_no_obstacle(agent):
    """As those of OpenBLAS, which numpy from PyPI starts at its import."""
    execd = agent("--preload", "blas")
    (execd.extra / "blas.py").write_text("""
import os, threading
stop = threading.Event()
thread = threading.Thread(target=stop.wait, daemon=True)
thread.start()
def end():
    stop.set()
    thread.join()
os.register_at_fork(before=end)
""")
    assert printed(execd, warm(execd), "import sys; print('blas' in sys.modules)") == "True\n"


def test_forks_of_the_users_go_on_with_numpys_numbers(agent):
    """As in a cold kernel: only the kernels themselves begin with numbers of their own."""
    execd = agent("--preload", "numpy.random")
    (execd.extra / "numpy").mkdir()
    (execd.extra / "numpy/__init__.py").write_text("from . import random\n")
    (execd.extra / "numpy/random.py").write_text(
        "import random\ngenerator = random.Random(0)\nseed, rand = generator.seed, generator.random\n"
        "get_state, set_state = generator.getstate, generator.setstate\n")
    contexts = [warm(execd), warm(execd)]
    assert len({printed(execd, context, "import numpy; print(numpy.random.rand())") for context in contexts}) == 2
    assert printed(execd, contexts[0], """
import os
numpy.random.seed(0)
ends = os.pipe()
if os.fork() == 0:
    os.write(ends[1], repr(numpy.random.rand()).encode())
    os._exit(0)
os.wait()
print(float(os.read(ends[0], 100)) == numpy.random.rand())""") == "True\n"


def test_a_forked_kernel_copies_few_pages(agent):
    execd = agent()
    context = warm(execd)
    text = printed(execd, context, """
import re
print(sum(int(n) for n in re.findall(r"Private_Dirty: +(\\d+)", open("/proc/self/smaps_rollup").read())))""")
    assert int(text) < 18000, "kB of its own"


def test_threads_make_the_start_cold(agent):
    execd = agent("--preload", "threaded_module")
    (execd.extra / "threaded_module.py").write_text(
        "import threading, time\nthreading.Thread(target=time.sleep, args=(3600,), daemon=True).start()\n")
    create(execd)
    eventually(lambda: "threads" in create(execd).get("start_note", ""))
    assert printed(execd, create(execd), "print(1)") == "1\n"


def test_preloaded_modules_are_there(agent):
    execd = agent("--preload", "xml.dom.minidom,no.such.module")
    context = warm(execd)
    assert printed(execd, context, "import sys; print('xml.dom.minidom' in sys.modules, 'debugpy' in sys.modules)") == "True False\n"


@pytest.mark.parametrize("envs", [{"PYTHONHASHSEED": "7"}, {"LANG": "de_DE.UTF-8"}, {"LD_LIBRARY_PATH": "/x"}])
def test_what_an_interpreter_reads_at_its_start_needs_a_start(agent, envs):
    execd = agent()
    warm(execd)
    context = create(execd, envs=envs)
    assert context["start"] == "cold" and "environment" in context["start_note"]


def test_it_can_be_switched_off(agent):
    execd = agent("--zygote", "off")
    for _ in range(2):
        context = create(execd)
        assert context["start"] == "cold" and context["start_note"] == "warm starts are off"
    assert not zygotes(execd)
    refused = subprocess.run([EXECD, "--zygote", "perhaps"], capture_output=True, text=True)
    assert refused.returncode != 0 and "on or off" in refused.stderr
