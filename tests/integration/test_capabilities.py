"""GET /capabilities: every answer against a probe that shares no code with the agent's."""

import ctypes
import os
import platform
import subprocess
from pathlib import Path

import pytest

from harness.execd import Execd, status_field

LIBC = ctypes.CDLL(None, use_errno=True)
CREATE_RULESET = 444
CONFINED = ["setpriv", "--no-new-privs", "--bounding-set", "-sys_admin,-net_raw"]


@pytest.fixture
def said(execd):
    return execd.client.get("/capabilities").json()


def works(*command):
    return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=10).returncode == 0


def cap_names(mask):
    text = subprocess.run(["capsh", f"--decode={mask}"], capture_output=True, text=True, timeout=10).stdout
    return sorted(name.strip().removeprefix("cap_") for name in text.partition("=")[2].split(",") if name.strip())


def test_kernel_is_this_kernel(said):
    assert said["kernel"] == platform.release()
    assert said["machine"] == platform.machine()


def test_landlock_abi(said):
    abi = max(LIBC.syscall(CREATE_RULESET, None, ctypes.c_size_t(0), 1), 0)
    assert said["landlock"] == {"abi": abi, "files": abi >= 1, "tcp": abi >= 4, "scopes": abi >= 6}


def test_namespaces_and_overlay(said):
    any_way = ["unshare", "--user", "--map-root-user"]
    found = said["namespaces"]
    assert found["user"] == works("unshare", "--user", "true")
    for kind, option in (("mount", "--mount"), ("pid", "--pid"), ("network", "--net")):
        assert found[kind] == (works(*any_way, option, "true") or works("unshare", option, "true")), kind
    mount = ["--mount", "sh", "-c", "mount -t overlay -o ro,lowerdir=/usr:/etc overlay /tmp"]
    assert said["overlay"] == (works(*any_way, *mount) or works("unshare", *mount))


def test_own_privileges(execd, said):
    assert sorted(said["capabilities"]["effective"]) == cap_names(status_field(execd.pid, "CapEff"))
    assert sorted(said["capabilities"]["bounding"]) == cap_names(status_field(execd.pid, "CapBnd"))
    assert said["no_new_privs"] == (status_field(execd.pid, "NoNewPrivs") == "1")
    assert said["seccomp"]["active"] == (status_field(execd.pid, "Seccomp") == "2")
    assert said["seccomp"]["filters"] == ("Seccomp" in Path("/proc/self/status").read_text())


def test_small_facts(execd, said):
    assert said["psi"] == os.access("/proc/pressure/memory", os.R_OK)
    assert said["pty"] == works("python3", "-c", "import os; os.openpty()")
    assert said["calls"]["pidfd"] == works("python3", "-c", "import os; os.pidfd_open(os.getpid())")
    assert said["sock_diag"] == works("python3", "-c", "import socket as s; s.socket(s.AF_NETLINK, s.SOCK_DGRAM, 4)")
    assert said["cgroup"]["mode"] == execd.wait_log(msg="execd")["cgroup"]
    assert said["cgroup"]["leaves"] == (not said["cgroup"]["mode"].startswith("none"))


def test_a_confined_agent_says_less(tmp_path):
    with Execd(tmp_path, launcher=CONFINED) as agent:
        said = agent.client.get("/capabilities").json()
        assert said["no_new_privs"] is True
        assert not {"net_raw", "sys_admin"} & set(said["capabilities"]["bounding"])
        assert not {"net_raw", "sys_admin"} & set(said["capabilities"]["effective"])


def test_asking_leaves_nothing_behind(execd, said):
    before = len(os.listdir(f"/proc/{execd.pid}/fd"))
    mounts = Path("/proc/self/mountinfo").read_text()
    assert [execd.client.get("/capabilities").json() for _ in range(20)] == [said] * 20
    assert len(os.listdir(f"/proc/{execd.pid}/fd")) == before
    assert Path("/proc/self/mountinfo").read_text() == mounts


def test_it_needs_the_token(execd):
    with execd.new_client(token=None) as stranger:
        answer = stranger.get("/capabilities")
        assert (answer.status_code, answer.json()["code"]) == (401, "UNAUTHORIZED")
