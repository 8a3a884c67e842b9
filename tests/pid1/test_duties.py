"""What PID 1 owes: reaping, signals, exit codes, clean children, an orderly end (hardening 3)."""

import os
import shutil
import signal
import subprocess
import sys
import time

import pytest

from harness.execd import BUILD, EXECD, Execd, children, eventually, fds, status_field

PYTHON = sys.executable

ORPHANS = """
import os, sys
for _ in range(int(sys.argv[1])):
    if os.fork() == 0:
        if os.fork() == 0:
            os._exit(0)
        os._exit(0)
    os.wait()
print("all made", file=sys.stderr, flush=True)
import signal
signal.pause()
"""


def wait_line(agent, text, limit_s=30):
    try:
        eventually(lambda: any(text in line for line in list(agent.lines)), limit_s)
    except AssertionError:
        raise AssertionError(f"no line with {text!r} in:\n" + "\n".join(agent.lines)) from None


def zombies(pid):
    return [child for child, state in children(pid) if state == "Z"]


def test_reaps_10000_orphans(pid1):
    agent = pid1(entrypoint=[PYTHON, "-c", ORPHANS, "10000"])
    wait_line(agent, "all made", 60)
    eventually(lambda: not zombies(agent.pid), message="zombies are left")
    assert agent.client.get("/ping").status_code == 200


def test_subreaper_reaps_when_not_pid1(tmp_path):
    with Execd(tmp_path, entrypoint=[PYTHON, "-c", ORPHANS, "200"]) as agent:
        wait_line(agent, "all made")
        eventually(lambda: not zombies(agent.pid), message="zombies are left")


@pytest.mark.parametrize("codes", [range(0, 64), range(64, 128), range(128, 192), range(192, 256)])
def test_init_ends_with_the_entrypoints_code(pid1, codes):
    for code in codes:
        assert pid1("--init", entrypoint=["/bin/sh", "-c", f"exit {code}"]).wait() == code


@pytest.mark.parametrize("signum", [1, 2, 3, 6, 8, 9, 10, 11, 12, 13, 14, 15, 24, 31])
def test_init_ends_with_128_plus_signal(pid1, signum):
    assert pid1("--init", entrypoint=["/bin/sh", "-c", f"kill -{signum} $$; sleep 5"]).wait() == 128 + signum


@pytest.mark.parametrize("value", ["1", "true", "yes", "on"])
def test_init_by_environment(pid1, value):
    assert pid1(env={"EXECD_INIT": value}, entrypoint=["/bin/sh", "-c", "exit 7"]).wait() == 7


@pytest.mark.parametrize("program, code", [("/nowhere/at/all", 127), ("not-in-any-path", 127), ("/etc/passwd", 126), ("/etc", 126)])
def test_exec_failure_has_its_code_and_a_message(pid1, program, code):
    agent = pid1("--init", entrypoint=[program])
    assert agent.wait() == code
    assert any(program in entry.get("error", "") for entry in agent.log)


def test_without_init_serving_goes_on(pid1):
    agent = pid1(entrypoint=["/bin/sh", "-c", "exit 3"])
    agent.wait_log(msg="the entrypoint has ended", code="3")
    assert agent.client.get("/ping").status_code == 200
    assert agent.stop() == 0


def test_positional_program_needs_no_dashes(pid1):
    agent = pid1("tail", "-f", "/dev/null")
    assert agent.client.get("/ping").status_code == 200
    eventually(lambda: children(agent.pid))


FORWARD = """
for name in HUP QUIT USR1 USR2 WINCH; do trap "echo got $name >&2" $name; done
echo ready >&2
while :; do sleep 0.02; done
"""


def test_signals_are_forwarded_to_the_entrypoint(pid1):
    agent = pid1(entrypoint=["/bin/sh", "-c", FORWARD])
    wait_line(agent, "ready")
    for name in ("HUP", "QUIT", "USR1", "USR2", "WINCH"):
        agent.send_signal(getattr(signal, f"SIG{name}"))
        wait_line(agent, f"got {name}")


ATTACK = """
import ctypes, os, signal, struct, sys
libc = ctypes.CDLL(None, use_errno=True)
for signum in range(1, 65):
    try:
        os.kill(1, signum)
    except OSError:
        pass
for code in (-1, 0, 0x80, -6):
    info = struct.pack("iii4xii", signal.SIGTERM, 0, code, 0, 0).ljust(128, b"\\0")
    libc.syscall(129 if os.uname().machine == "x86_64" else 138, 1, signal.SIGTERM, info)
print("attacked", file=sys.stderr, flush=True)
signal.pause()
"""


def test_A07_A08_signals_from_inside_are_ignored(pid1):
    agent = pid1(entrypoint=[PYTHON, "-c", ATTACK])
    wait_line(agent, "attacked")
    time.sleep(0.2)
    assert agent.client.get("/ping").status_code == 200

    def ignored():
        return [entry for entry in agent.log if entry["msg"].startswith("ignored a signal")]

    assert len(eventually(ignored)) < 10, "logged, and not once per signal, nor once for each of 68"
    assert not [entry for entry in agent.log if entry["msg"].startswith("shutting down")]
    started = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - started < 8


def test_A09_kill_everything_from_inside(pid1):
    agent = pid1(entrypoint=["/bin/sh", "-c", "kill -9 -1"])
    agent.wait_log(msg="the entrypoint has ended")
    assert agent.client.get("/ping").status_code == 200


PROBE = """
import os, sys
for name in ("environ", "mem", "maps", "smaps", "auxv", "root", "cwd", "exe", "stack", "syscall", "fd/0", "fd/3", "ns/pid", "map_files"):
    path = "/proc/1/" + name
    try:
        if name in ("root", "cwd", "exe", "ns/pid"):
            os.readlink(path)
        elif name == "map_files":
            os.listdir(path)
        else:
            with open(path, "rb") as file:
                file.read(16)
        print("OPEN", name, file=sys.stderr)
    except OSError as error:
        print("closed", name, error.errno, file=sys.stderr)
import ctypes
if ctypes.CDLL(None).ptrace(16, 1, 0, 0) == 0:
    print("OPEN ptrace", file=sys.stderr)
print("probed", file=sys.stderr, flush=True)
import signal
signal.pause()
"""


def test_A04_A06_pid1_shows_nothing(pid1, container_like):
    agent = pid1(launcher=container_like, entrypoint=[PYTHON, "-c", PROBE])
    wait_line(agent, "probed")
    assert not [line for line in agent.lines if line.startswith("OPEN")]
    assert any(line.startswith("closed environ 13") or line.startswith("closed environ 1") for line in agent.lines)


def entry_lines(agent, script, **keywords):
    """Lines that a shell script as the entrypoint wrote to standard error."""
    started = agent("--init", entrypoint=["/bin/sh", "-c", f"exec 1>&2; {script}"], **keywords)
    assert started.wait() == 0
    return [line for line in started.lines if not line.startswith("{")]


ODD_PARENT = [PYTHON, "-c",
              "import os, signal, sys\n"
              "signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())\n"
              "signal.signal(signal.SIGHUP, signal.SIG_IGN); signal.signal(signal.SIGCHLD, signal.SIG_IGN)\n"
              "os.umask(0o077); os.execvp(sys.argv[1], sys.argv[1:])"]


def test_A23_children_start_clean(pid1):
    lines = entry_lines(pid1, "cat /proc/self/status; umask; cat /proc/self/oom_score_adj; ulimit -n; ulimit -c; nice",
                        launcher=["prlimit", "--nofile=321:4321", *ODD_PARENT])
    status = dict(line.split(":\t") for line in lines if line.startswith("Sig"))
    assert status["SigBlk"] == status["SigIgn"] == status["SigCgt"] == "0" * 16
    rest = [line for line in lines if ":\t" not in line]
    assert rest[:5] == ["0022", "0", "321", "0", "0"]


def test_A23_children_have_their_own_session(pid1):
    lines = entry_lines(pid1, "cut -d' ' -f1,5,6 /proc/$$/stat; echo $$")
    pid, group, session = lines[0].split()
    assert pid == group == session == lines[1]


def test_A24_children_see_no_secret(pid1):
    env = {"EXECD_ENVS": "/tmp/none", "JUPYTER_TOKEN": "canary", "JUPYTER_HOST": "canary",
           "OPENSANDBOX_API_TOKEN": "canary", "OPENSANDBOX_ID": "box", "EXECD_ANYTHING": "canary", "KEPT": "kept"}
    lines = entry_lines(pid1, "env", env=env)
    names = {line.split("=")[0] for line in lines}
    assert "canary" not in "".join(lines)
    assert {"EXECD_ENVS", "OPENSANDBOX_ID", "KEPT", "PATH"} <= names
    assert not [name for name in names if name.startswith(("EXECD_", "JUPYTER_")) and name != "EXECD_ENVS"]


def test_A22_children_inherit_three_descriptors(pid1):
    lines = entry_lines(pid1, "exec ls /proc/self/fd")
    assert lines == ["0", "1", "2", "3"]  # 3 is the folder that ls itself reads


def test_entrypoint_runs_in_the_start_directory(pid1, tmp_path):
    assert entry_lines(pid1, "pwd", cwd=tmp_path) == [str(tmp_path)]


def test_N10_closed_standard_descriptors(pid1, tmp_path):
    agent = pid1("--log-file", str(tmp_path / "log"),
                 launcher=["/bin/sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh"], entrypoint=["sleep", "100"])
    path = agent.socket
    eventually(path.exists)
    for number in (0, 1, 2):
        assert eventually(lambda: fds(agent.pid).get(number)) == "/dev/null"
    assert "listening" in (tmp_path / "log").read_text()


def test_A21_no_core(pid1):
    agent = pid1()
    agent.client.get("/ping")
    with open(f"/proc/{agent.pid}/limits") as file:
        core = next(line for line in file if line.startswith("Max core"))
    assert core.split()[4] == "0"


@pytest.mark.parametrize("signum", [signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGFPE, signal.SIGILL])
def test_A21_a_crash_leaves_one_line(pid1, signum):
    """From outside, where the signal counts; from inside it does not (A08)."""
    agent = pid1(launcher=["prlimit", "--core=unlimited:unlimited"])
    agent.client.get("/ping")
    before = set(agent.folder.iterdir())
    os.kill(agent.pid, signum)
    assert agent.wait() == 128 + signum
    (line,) = [line for line in agent.lines if line.startswith("execd: fatal ")]
    assert line.startswith(f"execd: fatal {signum.name} ")
    assert set(agent.folder.iterdir()) <= before, "no core"
    offsets = [word.removeprefix("+") for word in line.partition(" at ")[2].split()]
    if shutil.which("addr2line") and (symbols := BUILD / "execd.debug").exists():
        names = subprocess.run(["addr2line", "-f", "-e", symbols, *offsets], capture_output=True, text=True,
                               timeout=30, check=True).stdout.split()
        assert "main" in names[::2]


def test_A17_few_descriptors(pid1):
    agent = pid1(launcher=["prlimit", "--nofile=40:40"])
    assert agent.client.get("/ping").status_code == 200


TRAP_TERM = "trap 'echo got TERM >&2; exit 5' TERM; echo ready >&2; while :; do sleep 0.02; done"
STUBBORN = "trap '' TERM; echo ready >&2; while :; do sleep 1; done"


def test_shutdown_tells_everybody_and_ends_zero(pid1):
    agent = pid1("--grace", "10s", entrypoint=["/bin/sh", "-c", TRAP_TERM])
    wait_line(agent, "ready")
    started = time.monotonic()
    assert agent.stop() == 0
    assert time.monotonic() - started < 5
    assert "got TERM" in agent.lines


def test_shutdown_with_init_ends_with_the_entrypoints_code(pid1):
    agent = pid1("--init", "--grace", "10s", entrypoint=["/bin/sh", "-c", TRAP_TERM])
    wait_line(agent, "ready")
    assert agent.stop() == 5


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_shutdown_kills_the_stubborn_after_the_grace(pid1, signum):
    agent = pid1("--grace", "300ms", entrypoint=["/bin/sh", "-c", STUBBORN])
    wait_line(agent, "ready")
    started = time.monotonic()
    assert agent.stop(signum) == 0
    assert 0.25 < time.monotonic() - started < 5


DAEMON = "(setsid sh -c 'trap \"\" TERM; exec sleep 1234' &); echo ready >&2; sleep 1000"


def test_shutdown_outside_pid1_finds_daemons(tmp_path):
    with Execd(tmp_path, "--grace", "200ms", entrypoint=["/bin/sh", "-c", DAEMON]) as agent:
        wait_line(agent, "ready")
        family = [agent.pid]
        for pid in family:
            family += [child for child, _ in children(pid)]
        daemons = eventually(lambda: [pid for pid in family if pid != agent.pid])
        assert agent.stop() == 0
        for pid in daemons:
            assert not os.path.exists(f"/proc/{pid}") or status_field(pid, "State").startswith("Z")


def test_new_connections_are_refused_during_shutdown(pid1):
    agent = pid1("--grace", "2s", entrypoint=["/bin/sh", "-c", STUBBORN])
    wait_line(agent, "ready")
    agent.client.get("/ping")
    agent.close_clients()
    agent.send_signal(signal.SIGTERM)
    agent.wait_log(msg="shutting down")
    with pytest.raises(OSError):
        eventually(lambda: agent.connect().close())


def test_A18_empty_root(pid1, tmp_path):
    """Nothing but the binary: no /proc, /dev, /etc, /tmp."""
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(EXECD, root / "execd")
    agent = pid1("--listen", "unix:/socket", "--inner-listen", "off", listen=False, namespace=(f"--root={root}", "--wd=/"),
                 binary="/execd")
    agent.socket = root / "socket"
    assert agent.client.get("/ping").status_code == 200
    assert agent.client.get("/files/info", params={"path": "/"}).json()["/"]["owner"]
    assert agent.stop() == 0
