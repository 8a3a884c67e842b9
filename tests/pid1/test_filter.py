"""A10, A11: PID 1's limits and priority cannot be changed from inside."""

import sys

import pytest

from harness.execd import eventually

ATTACKS = """
import ctypes, os, resource, sys
libc = ctypes.CDLL(None, use_errno=True)
X86 = os.uname().machine == "x86_64"
SETATTR, IOPRIO, SETSCHED, SETPARAM = (314, 251, 144, 142) if X86 else (274, 30, 119, 118)
HIGH = 1 << 32

def attack(name, call):
    try:
        result = call()
        print(("DONE " if result is None or result >= 0 else f"errno {ctypes.get_errno()} ") + name, file=sys.stderr)
    except OSError as error:
        print(f"errno {error.errno} {name}", file=sys.stderr)

param = (ctypes.c_int * 16)()
attack("prlimit nofile", lambda: resource.prlimit(1, resource.RLIMIT_NOFILE, (4, 4)))
attack("prlimit cpu", lambda: resource.prlimit(1, resource.RLIMIT_CPU, (1000, 1000)))
attack("setscheduler", lambda: libc.syscall(SETSCHED, 1, 5, param))
attack("setscheduler high bits", lambda: libc.syscall(ctypes.c_long(SETSCHED), ctypes.c_long(1 | HIGH), ctypes.c_long(5), param))
attack("setparam", lambda: libc.syscall(SETPARAM, 1, param))
attack("setattr", lambda: libc.syscall(SETATTR, 1, param, 0))
attack("affinity", lambda: os.sched_setaffinity(1, {0}))
attack("nice", lambda: os.setpriority(os.PRIO_PROCESS, 1, 19))
attack("nice of the user", lambda: os.setpriority(os.PRIO_USER, 0, 19))
attack("nice of the group", lambda: os.setpriority(os.PRIO_PGRP, 1, 19))
attack("ioprio", lambda: libc.syscall(IOPRIO, 1, 1, 3 << 13))
attack("ioprio of the user", lambda: libc.syscall(IOPRIO, 3, 0, 3 << 13))
print("attacked", file=sys.stderr)

def allowed(name, call):
    try:
        call()
        print("allowed " + name, file=sys.stderr)
    except OSError as error:
        print(f"REFUSED {name} {error}", file=sys.stderr)

allowed("own limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (100, 200)))
allowed("reading", lambda: resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE))
allowed("own nice", lambda: os.nice(1))
allowed("own affinity", lambda: os.sched_setaffinity(0, os.sched_getaffinity(0)))
print("finished", file=sys.stderr, flush=True)
import signal
signal.pause()
"""


def run_attacks(agent):
    eventually(lambda: "finished" in list(agent.lines))
    assert agent.client.get("/ping").status_code == 200
    return [line for line in agent.lines if not line.startswith("{")]


@pytest.mark.parametrize("options, launcher", [
    ((), []),
    ((), ["setpriv", "--no-new-privs", "--bounding-set", "-sys_admin,-sys_resource"]),
    (("--seccomp", "on"), ["setpriv", "--bounding-set", "-sys_admin,-sys_resource"]),
])
def test_A10_A11_pid1_keeps_its_limits(pid1, options, launcher):
    agent = pid1(*options, launcher=launcher, entrypoint=[sys.executable, "-c", ATTACKS])
    lines = run_attacks(agent)
    assert agent.wait_log(msg="execd")["seccomp"] == "yes"
    assert not [line for line in lines if line.startswith(("DONE", "REFUSED"))]
    assert len([line for line in lines if line.startswith("errno 1 ")]) == 12


def test_auto_leaves_set_uid_programs_alone(pid1, container_like):
    """Without privilege the kernel wants no_new_privs for a filter: auto does without one then."""
    agent = pid1(launcher=container_like, entrypoint=["/bin/sh", "-c", "grep NoNewPrivs /proc/self/status >&2"])
    assert agent.wait_log(msg="execd")["seccomp"] == "no"
    eventually(lambda: "NoNewPrivs:\t0" in list(agent.lines))


def test_off_is_off(pid1):
    agent = pid1("--seccomp", "off", entrypoint=["/bin/sh", "-c", "grep ^Seccomp: /proc/self/status >&2"])
    eventually(lambda: "Seccomp:\t0" in list(agent.lines))
