"""What code inside a sandbox of the native runtime cannot do (hardening L and A, namespace form)."""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from harness.native_server import EXECD

HERE = Path(__file__).resolve().parent


def pairs(text):
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


@pytest.fixture(scope="module")
def tried(box):
    """Every attempt of the probe's list with its result."""
    return pairs(box.run("probe syscalls").stdout)


def expect(tried, result, *names):
    assert {name: tried[name] for name in names} == dict.fromkeys(names, result)


def test_L01_mounts_are_private(box):
    before = Path("/proc/self/mountinfo").read_text()
    inside = Path(f"/proc/{box.pid}/mountinfo").read_text()
    assert str(box.server.state) not in before
    assert "shared:" not in inside and "master:" not in inside
    point = box.server.folder / "host-mount"
    point.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", point], check=True)
    try:
        assert "host-mount" not in Path(f"/proc/{box.pid}/mountinfo").read_text()
    finally:
        subprocess.run(["umount", point], check=True)
        point.rmdir()


def test_L02_proc_and_sys_cannot_be_written(box):
    files = ["/proc/sys/kernel/core_pattern", "/proc/sys/kernel/modprobe", "/proc/sys/vm/overcommit_memory",
             "/proc/sys/kernel/hostname", "/proc/sys/net/ipv4/ip_forward", "/proc/irq/default_smp_affinity",
             "/proc/fs", "/proc/bus", "/sys/power/state", "/sys/kernel/uevent_helper", "/sys/kernel/mm/ksm/run"]
    files += [f for f in ("/proc/sysrq-trigger", "/proc/sys/fs/binfmt_misc/register", "/proc/mtrr") if os.path.exists(f)]
    results = pairs(box.run("probe open " + " ".join(files)).stdout)
    assert len(results) == len(files)
    assert {name for name, result in results.items()
            if result not in ("EROFS", "EACCES", "EPERM", "EISDIR", "ENOENT")} == set()


def test_L03_masked_files_are_empty(box):
    files = [f"/proc/{name}" for name in ("kcore", "keys", "key-users", "timer_list", "sched_debug", "latency_stats",
                                          "interrupts", "softirqs", "vmallocinfo", "kpageflags", "kallsyms")]
    out = box.run("for f in %s; do [ -e $f ] && echo $f $(head -c 100 $f 2>/dev/null | wc -c); done; true" % " ".join(files))
    sizes = pairs(out.stdout)
    assert "/proc/interrupts" in sizes and set(sizes.values()) == {"0"}
    folders = ["/proc/acpi", "/proc/scsi", "/proc/asound", "/sys/firmware", "/sys/devices/virtual/powercap",
               "/sys/kernel/debug", "/sys/kernel/security", "/sys/fs/bpf",
               "/sys/devices/system/cpu/cpu0/thermal_throttle"]
    out = box.run("for d in %s; do [ -d $d ] && ls -A $d; done; true" % " ".join(folders))
    assert out.stdout == ""


def test_L06_no_descriptor_leads_out(box):
    inside = box.run("ls /proc/self/fd").stdout.split()
    assert set(inside) <= {"0", "1", "2", "3"}, "3 is the listing itself"
    # Nor does one that execd itself holds: climbing from it ends at the top of its own tree.
    host = os.stat("/")
    for fd in Path(f"/proc/{box.pid}/fd").iterdir():
        try:
            top = os.stat(f"{fd}" + "/.." * 40)
        except OSError:  # no folder, or closed meanwhile
            continue
        assert (top.st_dev, top.st_ino) != (host.st_dev, host.st_ino), os.readlink(fd)


def test_L06_working_directory_is_inside(make_image, server):
    make_image("odd-cwd", WorkingDir="/proc/self/fd/9")
    answer = server.try_create("odd-cwd")
    assert answer.status_code >= 400
    make_image("new-cwd", WorkingDir="/work/space")
    box = server.create("new-cwd")
    assert box.run("ls -d /work/space").stdout == "/work/space\n"
    box.delete()


def test_L09_the_old_root_is_gone(box):
    assert box.run("ls /proc/1/root").code != 0
    assert box.run("ls /../../../../bin/probe").code == 0
    mounts = Path(f"/proc/{box.pid}/mountinfo").read_text().splitlines()
    # Every mount is reachable from the new root: nothing of the old tree is attached any more.
    ids = {line.split()[0] for line in mounts}
    orphans = [line for line in mounts if line.split()[1] not in ids]
    assert len(orphans) == 1 and " / / " in orphans[0]


def test_L10_no_device_nodes(box, tried):
    expect(tried, "EPERM", "mknod_disk", "mknod_mem", "mknod_kmsg", "mknod_fuse", "mknod_kvm", "mknod_tun")
    assert box.run("ls /dev").stdout.split() == sorted(
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero".split())


def test_L10_devices_cgroup_allows_only_the_list(box):
    groups = [Path(p) for p in box.state["groups"] if "/devices/" in p]
    if not groups:
        pytest.skip("no v1 devices controller on this host")
    allowed = (groups[0] / "devices.list").read_text().split("\n")
    assert sorted(filter(None, allowed)) == sorted(
        f"c {n} rwm" for n in ("1:3", "1:5", "1:7", "1:8", "1:9", "5:0", "5:2", "136:*"))


def test_L11_no_cgroup_files_inside(box):
    assert box.run("find / -xdev -name cgroup.procs 2>/dev/null; ls /sys/fs/cgroup").stdout == ""
    for line in box.run("cat /proc/self/cgroup").stdout.splitlines():
        assert box.server.group not in line, "the path starts at the sandbox's own group"


def test_L11_limit_files_belong_to_the_host(box):
    for path in box.state["groups"]:
        for entry in Path(path).iterdir():
            if entry.is_file() and entry.name not in ("cgroup.procs", "tasks", "cgroup.threads", "cgroup.subtree_control"):
                assert entry.stat().st_uid == 0, entry


def test_L12_no_new_namespaces(tried):
    kinds = ("user", "pid", "mount", "net", "ipc", "uts", "cgroup")
    expect(tried, "EPERM", *(f"unshare_{kind}" for kind in kinds), *(f"clone_{kind}" for kind in kinds), "setns",
           "unshare_time")
    expect(tried, "ENOSYS", "clone3")


def test_L13_no_mounts(tried):
    expect(tried, "EPERM", "mount_tmpfs", "umount_proc", "pivot_root", "open_tree", "fsopen")


def test_L14_dangerous_calls(tried):
    expect(tried, "EPERM", "keyctl", "add_key", "bpf", "io_uring_setup", "userfaultfd", "perf_event_open",
           "open_by_handle_at", "name_to_handle_at", "sethostname", "ioctl_tiocsti", "ioctl_tiocsti_high")
    expect(tried, "ENOSYS", "personality_compat")


def test_L14_census_is_the_committed_one(box):
    """Every call number with all arguments -1. A change here is a change of the filter: look at it, then commit it."""
    answers = pairs(box.run("probe census").stdout)
    assert len(answers) > 460
    refused = "".join(f"{number} {answer}\n" for number, answer in answers.items() if answer != "allowed")
    assert refused == (HERE / "census.txt").read_text()


def test_L15_foreign_entries_kill(box):
    assert pairs(box.run("probe foreign").stdout) == {"int80": "SYS", "x32": "SYS"}


def test_L16_high_bits_change_nothing(tried):
    expect(tried, "EPERM", "socket_alg_high", "socket_vsock_high", "socket_netlink_high", "prlimit_init_set_high",
           "sched_setscheduler_init_high")


def test_L16_socket_families(tried):
    expect(tried, "ok", "socket_unix", "socket_inet", "socket_inet6", "socket_route")
    expect(tried, "EPERM", "socket_netfilter", "socket_audit", "socket_uevent", "socket_packet", "socket_raw",
           "socket_alg", "socket_vsock", "socket_xdp", "socket_tipc", "socket_key", "socket_bluetooth")


def test_I11_no_way_around_by_a_socket_family(box):
    """Flags in the type change nothing, a pair is no way in, and of netlink only what shows interfaces is there."""
    answers = pairs(box.run("probe families").stdout)
    pairs_of = {name: answer for name, answer in answers.items() if name.endswith("_pair")}
    netlink = {name: answer for name, answer in answers.items() if name.startswith("netlink_")}
    assert len(netlink) == 32 and netlink.pop("netlink_0") == "ok"
    assert set(netlink.values()) == {"EPERM"}, netlink
    assert "ok" not in pairs_of.values(), pairs_of
    others = {name: answers[name] for name in answers if name not in pairs_of and not name.startswith("netlink_")}
    assert len(others) == 12 and set(others.values()) == {"EPERM"}, others


def test_L17_set_uid_gains_nothing(box):
    status = pairs(box.run("cat /proc/self/status").stdout.replace(":\t", " "))
    kept = "00000000800405fb"
    assert (status["CapInh"], status["CapAmb"]) == ("0" * 16, "0" * 16)
    assert (status["CapPrm"], status["CapEff"], status["CapBnd"]) == (kept, kept, kept)
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    box.run("mkdir /var/s && cp /bin/busybox /var/s/ && chmod 4755 /var/s/busybox")
    assert box.run("stat -c %a:%u /var/s/busybox && /var/s/busybox id -u", uid=1000).stdout.split() == ["4755:0", "1000"]


def test_L18_ipc_is_its_own(box):
    assert box.run("cat /proc/net/unix | grep -c '@' ; true").stdout.strip() == "0"
    marker = Path("/dev/shm/native-security-marker")
    marker.write_text("host")
    try:
        assert box.run("ls /dev/shm /dev/mqueue").stdout.replace("/dev/shm:", "").replace("/dev/mqueue:", "").strip() == ""
    finally:
        marker.unlink()


def test_L19_only_its_own_processes(box):
    numbers = [int(n) for n in box.run("ls /proc").stdout.split() if n.isdigit()]
    assert numbers and max(numbers) < 5000 and str(os.getpid()) not in map(str, numbers)
    assert box.run(f"kill -0 {os.getpid()}").code != 0


def test_L20_session_and_terminal(box):
    fields = Path(f"/proc/{box.pid}/stat").read_text().rpartition(")")[2].split()
    assert fields[3] == str(box.pid) and fields[4] == "0", "own session, no controlling terminal"
    fds = {n: os.readlink(f"/proc/{box.pid}/fd/{n}") for n in (0, 1, 2)}
    assert fds[0] == "/dev/null" and fds[1] == fds[2] == str(box.folder / "execd.log")
    assert box.run("hostname").stdout.strip() == box.id


def test_L21_init_is_invisible(box):
    assert box.run("ls /proc/1").code != 0
    assert "1" not in box.run("ls /proc").stdout.split()
    assert box.run("echo 1000 > /proc/1/oom_score_adj").code != 0


def test_L27_ids_are_mapped(box):
    assert Path(f"/proc/{box.pid}/uid_map").read_text().split() == ["0", "100000", "65536"]
    box.run("touch /tmp/mine; chown 1000:1000 /tmp/mine")
    upper = box.folder / "fs/upper/tmp/mine"
    assert (upper.stat().st_uid, upper.stat().st_gid) == (101000, 101000)
    assert box.run("chown 70000 /tmp/mine").code != 0
    assert box.run("stat -c %u /bin/busybox /etc/passwd").stdout.split() == ["0", "0"]


def test_A01_the_binary_cannot_be_changed(box):
    before = hashlib.sha256(EXECD.read_bytes()).hexdigest()
    results = pairs(box.run("probe open /opt/opensandbox/execd /proc/1/exe").stdout)
    assert results["/opt/opensandbox/execd"] in ("EROFS", "ETXTBSY", "EACCES")
    assert results["/proc/1/exe"] in ("ENOENT", "EACCES", "EPERM", "EROFS", "ETXTBSY")
    for command in ("rm -f /opt/opensandbox/execd", "mv /opt/opensandbox/execd /tmp/x"):
        assert box.run(command).code != 0
    assert hashlib.sha256(EXECD.read_bytes()).hexdigest() == before


def test_A02_the_binary_cannot_be_changed_after_its_end(server):
    """Not even at the moment when nobody runs it (CVE-2019-5736): the mount itself is read-only."""
    before = hashlib.sha256(EXECD.read_bytes()).hexdigest()
    box = server.create("busybox")
    box.run("(while :; do echo x > /opt/opensandbox/execd || true; cat /bin/true > /proc/1/exe || true; done) 2>/dev/null &")
    box.delete()
    assert hashlib.sha256(EXECD.read_bytes()).hexdigest() == before
    again = server.create("busybox")
    assert again.run("echo alive").stdout == "alive\n"
    again.delete()


def test_A03_a_planted_execd_is_never_run(server):
    box = server.create("busybox")
    planted = ("mv /opt/opensandbox /opt/moved && mkdir /opt/opensandbox && "
               "printf '#!/bin/sh\\ntouch /tmp/planted\\nexec sleep 1000\\n' > /opt/opensandbox/execd && "
               "chmod 755 /opt/opensandbox/execd && echo planted")
    assert box.run(planted).stdout == "planted\n"
    assert box.run("echo alive").stdout == "alive\n"
    assert box.run("id -u", uid=1000).stdout == "1000\n"
    assert box.run("true", background=True) is not None
    assert box.run("cat /tmp/planted").code != 0
    box.delete()


def test_A04_nothing_of_init_can_be_read(box):
    for name in ("environ", "mem", "maps", "auxv", "stack", "fd", "root", "cwd", "exe"):
        assert box.run(f"cat /proc/1/{name}").code != 0 and box.run(f"cat /proc/1/{name}", uid=1000).code != 0


def test_A05_the_token_is_nowhere(box):
    files = box.run(f"find / /run /dev/shm -xdev -type f | xargs grep -l -- {box.token}; true").stdout
    assert files == ""
    # The command line of the search itself is the one place that has it; PID 1 is not to be seen.
    found = box.run(f"for p in /proc/[0-9]*; do grep -l -- {box.token} $p/environ $p/cmdline; done 2>/dev/null; true")
    assert "environ" not in found.stdout and "/proc/1/" not in found.stdout
    assert box.token not in box.log
    assert box.token not in "\n".join(box.server.lines)
    assert box.token.encode() not in Path(f"/proc/{box.pid}/environ").read_bytes()


def test_A06_A10_A11_init_cannot_be_touched(tried, box):
    expect(tried, "EPERM", "ptrace_init", "vm_readv_init", "kcmp_init", "pidfd_getfd_init", "prlimit_init_set",
           "sched_setscheduler_init", "sched_setaffinity_init", "setpriority_init", "setpriority_user", "ioprio_init")
    expect(tried, "ok", "prlimit_self_get")
    assert box.run("ulimit -n 100; ulimit -n").stdout.strip() == "100"


def test_A07_signals_from_inside_are_ignored(box):
    box.run("for n in $(seq 1 64); do kill -$n 1 2>/dev/null; done; true")
    assert box.run("echo alive").stdout == "alive\n"
    assert box.ping() == 200


def test_A21_no_core_files(box):
    assert box.run("ulimit -Hc").stdout.strip() == "0"


def test_the_network_is_the_loopback_alone(box):
    assert box.run("ls /sys/class/net").stdout.split() == ["lo"]
    assert "UP" in box.run("ip link show lo").stdout
    assert box.run("wget -q -O - http://127.0.0.1:44772/ping; echo $?").stdout.endswith("0\n")
    assert box.run("wget -q -T 2 -O - http://192.0.2.1/").code != 0
