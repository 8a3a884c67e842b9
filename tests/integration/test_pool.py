"""Kernels that wait ready: given to the next context with its folder and environment, and nobody can tell."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.execd import EXECD, children, eventually
from harness.kernels import kernels
from harness.python_kernels import create, printed, run, start_with_python


@pytest.fixture
def agent(start_execd, tmp_path):
    started = []

    def start(*options):
        started.append(start_with_python(start_execd, tmp_path, *options))
        return started[-1]

    yield start
    for execd in started:
        execd.stop()


def gauge(execd, name):
    text = execd.client.get("/metrics", headers={"Accept": "text/plain;version=0.0.4"}).text
    return next((float(line.split()[1]) for line in text.splitlines() if line.startswith(name + " ") or line.startswith(name + "_total ")), 0)


def waiting(execd):
    """The processes of kernels that are no context's."""
    contexts = execd.client.get("/code/contexts").json()
    return set(kernels(execd)) - {int(printed(execd, context, "import os; print(os.getpid())")) for context in contexts}


def filled(execd, n=1):
    create(execd)
    eventually(lambda: gauge(execd, "execd_kernel_pool_ready") == n, message="the pool stays empty")


def test_one_that_waited_is_as_good_as_new(agent, tmp_path):
    execd = agent()
    filled(execd)
    before = gauge(execd, "execd_kernels_from_pool")
    context = create(execd, cwd=str(tmp_path / "made"), envs={"GREETING": "hello", "TZ": "Asia/Tokyo", "PATH": "/bin"})
    assert context["start"] == "pool" and "start_note" not in context
    text = printed(execd, context, "import os, time; print(os.getcwd(), os.environ['GREETING'], time.tzname[0], os.environ['PATH'])")
    assert text == f"{tmp_path / 'made'} hello JST /bin\n"
    assert printed(execd, context, "print(_dh == [__import__('pathlib').Path.cwd()], In[1:-1], len(Out), get_ipython().execution_count)").startswith("True")
    assert "'JPY_PARENT_PID', '1'" in printed(execd, context, "print(sorted(os.environ.items()))")
    assert gauge(execd, "execd_kernels_from_pool") == before + 1
    eventually(lambda: gauge(execd, "execd_kernel_pool_ready") == 1, message="the pool is not refilled")


def test_the_first_cell_is_number_one(agent):
    execd = agent()
    filled(execd)
    context = create(execd)
    assert context["start"] == "pool"
    assert printed(execd, context, "print(len(In), Out, _, [row[1] for row in get_ipython().history_manager.get_range()])") == "2 {}  [1]\n"


def test_variables_and_folders_of_others_are_not_seen(agent):
    execd = agent("--kernel-pool", "2")
    filled(execd, 2)
    first, second = create(execd, envs={"SECRET": "a"}), create(execd)
    assert first["start"] == second["start"] == "pool"
    assert printed(execd, first, "import os, random; print(os.environ['SECRET'], random.random())") != \
        printed(execd, second, "import os, random; print(os.environ.get('SECRET', 'a'), random.random())")
    assert printed(execd, second, "print('SECRET' in os.environ)") == "False\n"


@pytest.mark.parametrize("envs,start", [({"PYTHONHASHSEED": "7"}, "cold"), ({"HOME": "/tmp"}, "forked"), ({"IPYTHONDIR": "/tmp/x"}, "forked")])
def test_what_is_read_at_a_start_needs_one(agent, envs, start):
    execd = agent()
    filled(execd)
    assert create(execd, envs=envs)["start"] == start
    assert gauge(execd, "execd_kernel_pool_ready") == 1


def test_a_burst_takes_what_there_is_and_forks_the_rest(agent):
    execd = agent("--kernel-pool", "2")
    filled(execd, 2)
    with ThreadPoolExecutor(8) as threads:
        contexts = list(threads.map(lambda i: create(execd, envs={"N": str(i)}), range(8)))
    assert sorted(c["start"] for c in contexts) == ["forked"] * 6 + ["pool"] * 2
    for i, context in enumerate(contexts):
        assert printed(execd, context, "import os; print(os.environ['N'])") == f"{i}\n"


def test_one_that_dies_while_it_waits_is_replaced(agent):
    execd = agent()
    filled(execd)
    taken = create(execd)
    eventually(lambda: gauge(execd, "execd_kernel_pool_ready") == 1)
    (pid,) = waiting(execd)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: waiting(execd) - {pid})  # it is started when the death is known
    assert printed(execd, taken, "print('unharmed')") == "unharmed\n"
    eventually(lambda: gauge(execd, "execd_kernel_pool_ready") == 1)
    assert create(execd)["start"] == "pool"


def test_installed_packages_are_not_missed(agent):
    execd = agent()
    filled(execd)
    (execd.extra / "fresh_module.py").write_text("value = 5\n")
    context = create(execd)
    assert context["start"] == "cold" and "packages have changed" in context["start_note"]
    assert printed(execd, context, "import fresh_module; print(fresh_module.value)") == "5\n"


def test_a_stopped_one_is_not_waited_for(agent):
    """It does not answer the request to take folder and environment over: another one starts instead."""
    execd = agent()
    filled(execd)
    (pid,) = waiting(execd)
    os.kill(pid, signal.SIGSTOP)
    context = create(execd, envs={"A": "b"})
    assert context["start"] == "cold" and "no answer" in context["start_note"]
    assert printed(execd, context, "import os; print(os.environ['A'])") == "b\n"


def test_a_bad_folder_is_refused_and_costs_none(agent):
    execd = agent()
    filled(execd)
    (execd.folder / "file").write_text("")
    response = execd.client.post("/code/context", json={"language": "python", "cwd": str(execd.folder / "file")})
    assert response.status_code >= 400 and response.json()["code"]
    assert gauge(execd, "execd_kernel_pool_ready") == 1


def test_a_program_that_cannot_be_found_is_told_as_without_a_pool(agent):
    execd = agent()
    filled(execd)
    spec = execd.extra.parent / "share/kernels/python3/kernel.json"
    spec.write_text(spec.read_text().replace(sys.executable, "python3"))
    response = execd.client.post("/code/context", json={"language": "python", "envs": {"PATH": "nowhere"}})
    assert (response.status_code, response.json()["code"]) == (500, "RUNTIME_ERROR"), response.text
    assert "PATH has no absolute entry" in response.json()["message"] and "EXECD_001" in response.json()["message"]


def test_it_can_be_switched_off(agent):
    execd = agent("--kernel-pool", "0")
    create(execd)
    for _ in range(3):
        assert create(execd)["start"] in ("cold", "forked")
    for wrong in ("17", "-1", "many"):
        refused = subprocess.run([EXECD, "--kernel-pool", wrong], capture_output=True, text=True)
        assert refused.returncode != 0 and "from 0 to 16" in refused.stderr


def test_an_end_of_execd_takes_them_along(agent):
    execd = agent("--kernel-pool", "3")
    filled(execd, 3)
    pids = [pid for pid, _ in children(execd.pid)]
    assert execd.stop() == 0
    assert not [pid for pid in pids if os.path.exists(f"/proc/{pid}")]
    assert os.listdir(execd.extra.parent / "run") == []
