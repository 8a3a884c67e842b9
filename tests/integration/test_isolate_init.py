"""The first process of an isolated session, by itself: what a program below it sees and may do."""

import json
import os
import socket
import struct
import subprocess
import sys

import pytest

from harness.execd import EXECD

CONTROL_FD = 8
# Puts the socket in its place, makes a pid namespace, and becomes the first process in it.
LAUNCH = f"""
import ctypes, os, sys
os.dup2(int(sys.argv[1]), {CONTROL_FD}, inheritable=True)
assert ctypes.CDLL(None).unshare(0x20000000) == 0
pid = os.fork()
if pid == 0:
    os.execv(sys.argv[2], sys.argv[2:])
sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


class Inside:
    """Runs shell text under isolate-init: its answer, what was printed, its exit code."""

    def __init__(self, text, mounts=(), env=None, **plan):
        ours, theirs = socket.socketpair()
        body = json.dumps({"strict": True, "share_net": True, "mounts": list(mounts), **plan}).encode()
        ours.sendall(struct.pack("=I", len(body)) + body)
        run = subprocess.run(
            [sys.executable, "-c", LAUNCH, str(theirs.fileno()), str(EXECD), "isolate-init", "/bin/bash", "-c", text],
            pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, timeout=20, env={"PATH": os.environ["PATH"], **(env or {})})
        theirs.close()
        self.out, self.code = run.stdout, run.returncode
        answer = b""
        while chunk := ours.recv(65536):
            answer += chunk
        ours.close()
        self.reply = json.loads(answer)
        if self.reply["ok"]:
            assert "message" not in self.reply


def mount(kind, path, source=None, upper=None):
    row = {"kind": kind, "path": str(path), "source": str(source or path)}
    return {**row, "upper": str(upper)} if upper else row


def test_status_is_the_programs():
    assert Inside("exit 7").code == 7
    assert Inside("kill -KILL $$").code == 128 + 9


def test_few_processes_and_own_proc():
    inside = Inside("ls /proc | grep -c '^[0-9]'; echo $$")
    assert inside.reply["own_proc"]
    count, pid = map(int, inside.out.split())
    assert pid == 2
    assert count <= 5  # init, the shell, and the pipeline


def test_everything_is_read_only(tmp_path):
    inside = Inside(f"for d in / /etc /usr /root /var /proc/sys/kernel /sys/kernel /dev {tmp_path}; do"
                    " touch $d/x 2>/dev/null && echo $d; done; echo 1 >/proc/sys/kernel/core_pattern")
    assert "Read-only file system" in inside.out
    assert not any(line.startswith("/") and "line" not in line for line in inside.out.splitlines()), inside.out


def test_tmp_is_private_or_shared(tmp_path):
    name = f"isolate-{os.getpid()}"
    assert Inside(f"ls -A /tmp; touch /tmp/{name} && echo made").out == "made\n"
    assert not os.path.exists(f"/tmp/{name}")
    try:
        assert Inside(f"touch /tmp/{name} && echo made", strict=False).out == "made\n"
        assert os.path.exists(f"/tmp/{name}")
    finally:
        os.unlink(f"/tmp/{name}")


def test_overlay_keeps_the_lower_layer(tmp_path):
    lower, upper = tmp_path / "work", tmp_path / "upper"
    lower.mkdir()
    upper.mkdir()
    (lower / "old").write_text("before")
    (lower / "gone").write_text("x")
    inside = Inside(f"cd {lower} && echo after >old && rm gone && echo new >fresh && ls",
                    [mount("overlay", lower, upper=upper)])
    assert inside.out.split() == ["fresh", "old"]
    assert (lower / "old").read_text() == "before"
    assert (lower / "gone").exists()
    assert (upper / "upper" / "fresh").read_text() == "new\n"
    again = Inside(f"cat {lower}/old; ls {lower}", [mount("overlay", lower, upper=upper)])
    assert again.out.split() == ["after", "fresh", "old"]


def test_overlay_in_memory_leaves_nothing(tmp_path):
    inside = Inside(f"echo x >{tmp_path}/x && cat {tmp_path}/x", [mount("overlay", tmp_path)])
    assert inside.out == "x\n"
    assert list(tmp_path.iterdir()) == []


def test_rw_ro_and_other_places(tmp_path):
    for name in ("rw", "ro", "from", "to"):
        (tmp_path / name).mkdir()
    (tmp_path / "from" / "f").write_text("bound")
    inside = Inside(f"cd {tmp_path}; echo 1 >rw/x; echo 1 >ro/x; cat to/f",
                    [mount("rw", tmp_path / "rw"), mount("ro", tmp_path / "ro"),
                     mount("rw", tmp_path / "to", tmp_path / "from")])
    assert (tmp_path / "rw" / "x").exists()
    assert not (tmp_path / "ro" / "x").exists()
    assert "Read-only" in inside.out and "bound" in inside.out


def test_network_of_its_own_has_a_loopback():
    inside = Inside("cat /proc/net/dev | tail -n +3 | wc -l; ip -br link show lo 2>/dev/null | grep -c UP || true",
                    share_net=False)
    assert inside.out.split()[0] == "1"


def test_privileges_are_gone():
    inside = Inside("grep -E 'Cap(Prm|Eff|Bnd|Amb)|NoNewPrivs|Seccomp:' /proc/self/status; mount -t tmpfs t /mnt;"
                    " unshare -m true; unshare -U true; mknod /tmp/m c 1 3")
    fields = dict(line.split(":\t") for line in inside.out.splitlines() if ":\t" in line)
    allowed = sum(1 << cap for cap in (0, 1, 3, 4, 5, 6, 7, 10))
    for name in ("CapPrm", "CapEff", "CapBnd"):
        assert int(fields[name], 16) & ~allowed == 0, name
    assert int(fields["CapAmb"], 16) == 0
    assert (fields["NoNewPrivs"], fields["Seccomp"]) == ("1", "2")
    refused = [line for line in inside.out.splitlines() if "not permitted" in line or "denied" in line]
    assert len(refused) == 4, inside.out


def test_devices_are_the_harmless_ones():
    inside = Inside("ls /dev; echo x >/dev/null && head -c4 /dev/urandom | wc -c; echo hi >/dev/shm/x; cat /dev/shm/x")
    names = inside.out.split()
    assert set(names[:-2]) <= {"fd", "full", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin", "stdout",
                               "tty", "urandom", "zero"}
    assert names[-2:] == ["4", "hi"]


def test_init_cannot_be_reached():
    inside = Inside("cat /proc/1/environ; ls -l /proc/1/root /proc/1/fd; kill -KILL 1; kill -TERM 1; echo alive")
    assert inside.out.splitlines()[-1] == "alive"
    assert inside.out.count("ermission denied") >= 2, inside.out


def test_identity():
    assert Inside("id -u; id -g; id -G; grep CapEff /proc/self/status", has_uid=True, uid=1234, gid=4321,
                  groups=["7"]).out.split() == ["1234", "4321", "4321", "7", "CapEff:", "0" * 16]
    inside = Inside("id -u; id -g; cat /proc/self/uid_map", has_uid=True, userns=True, uid=1234, gid=4321)
    assert inside.out.split() == ["1234", "4321", "1234", "0", "1"]


def test_environment_lists():
    env = {"A": "1", "B": "2"}
    assert Inside("echo $A-$B", env=env).out == "1-2\n"
    assert Inside("echo $A-$B", env=env, env_keys=["A"]).out == "-2\n"
    assert Inside("echo $A-$B", env=env, env_keys=["A"], env_allow=True).out == "1-\n"


def test_descriptors_end_at_seven():
    assert "8" not in Inside("ls /proc/self/fd").out.split()


def test_orphans_are_reaped_and_die_with_it():
    inside = Inside("(sleep 0.05 &) ; (setsid sleep 100 &) ; sleep 0.2; ps -e -o stat= 2>/dev/null | grep -c Z; exit 3")
    assert inside.code == 3
    assert inside.out.split()[-1:] in ([], ["0"])


def test_refusals_say_why(tmp_path):
    inside = Inside("true", [mount("rw", tmp_path / "none")])
    assert inside.reply["ok"] is False
    assert "none" in inside.reply["message"] and "No such file" in inside.reply["message"]
    assert inside.code == 125
