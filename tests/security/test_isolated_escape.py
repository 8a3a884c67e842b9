"""Sandboxes of the native runtime that may make isolated sessions: what was given is execd's alone."""

from pathlib import Path

import pytest
from harness.execd import children, output_of, sse_events, status_field

HERE = Path(__file__).resolve().parent
GRANT = 1 << 21 | 1 << 12  # CAP_SYS_ADMIN, CAP_NET_ADMIN
ISOLATION = {"bootstrap.execd.isolation": "enable"}


def pairs(text):
    return dict(line.split(" ", 1) for line in text.splitlines() if " " in line)


@pytest.fixture(scope="module")
def granted(server):
    return server.create("busybox", extensions=ISOLATION)


def isolated(box, method, path, **keywords):
    return box.server.client.request(method, f"{box.url}/v1/isolated/{path}", headers=box.headers, **keywords)


@pytest.fixture(scope="module")
def session(granted):
    granted.run("mkdir -p /workspace && echo before >/workspace/old")
    made = isolated(granted, "POST", "session", json={"workspace": {"path": "/workspace"}})
    assert made.status_code == 201, made.text
    return made.json()["session_id"]


def run(box, session, code):
    answer = isolated(box, "POST", f"session/{session}/run", json={"code": code})
    assert answer.status_code == 200, answer.text
    return sse_events(answer.text)  # of the first run: behind the banner of busybox


def test_commands_are_as_confined_as_without(box, granted):
    census = pairs(granted.run("probe census").stdout)
    refused = "".join(f"{number} {answer}\n" for number, answer in census.items() if answer != "allowed")
    assert refused == (HERE / "census.txt").read_text()
    assert granted.run("probe syscalls").stdout == box.run("probe syscalls").stdout
    assert pairs(granted.run("probe foreign").stdout) == {"int80": "SYS", "x32": "SYS"}
    status = "grep -E 'Cap|NoNewPrivs|Seccomp:' /proc/self/status"
    assert granted.run(status).stdout == box.run(status).stdout


def test_the_entrypoint_and_other_users_are_too(granted):
    begun = [pid for pid, _ in children(granted.pid)]
    assert begun
    for pid in begun:
        for kind in ("CapPrm", "CapEff", "CapBnd"):
            assert int(status_field(pid, kind), 16) & GRANT == 0
        assert status_field(pid, "Seccomp_filters") == str(int(status_field(granted.pid, "Seccomp_filters")) + 1)
    assert int(status_field(granted.pid, "CapEff"), 16) & GRANT == GRANT
    answers = pairs(granted.run("probe syscalls", uid=1000).stdout)
    assert {answers[name] for name in answers if name.startswith(("mount", "unshare", "setns"))} <= {"EPERM", "ENOSYS"}


def test_without_the_extension_it_says_what_is_missing(box):
    report = isolated(box, "GET", "capabilities").json()
    assert report["available"] is False and "CAP_SYS_ADMIN" in report["message"]
    refused = isolated(box, "POST", "session", json={"workspace": {"path": "/tmp"}})
    assert refused.status_code == 503 and "CAP_SYS_ADMIN" in refused.json()["message"]


def test_sessions_are_possible(granted, session):
    report = isolated(granted, "GET", "capabilities").json()
    assert report["available"] is True, report
    assert report["hardening"]["init_mode"] == "pid1" and report["hardening"]["signal_shield"] is True
    events = run(granted, session, "echo after >old; echo new >new; ls; cat old; echo $$")
    assert output_of(events).split()[-4:] == ["new", "old", "after", "2"]
    assert granted.run("ls /workspace; cat /workspace/old").stdout.split() == ["old", "before"]


def test_a_network_of_its_own(granted):
    made = isolated(granted, "POST", "session", json={"workspace": {"path": "/workspace"}, "share_net": False})
    assert made.status_code == 201, made.text
    events = run(granted, made.json()["session_id"], "ip link show lo | grep -c UP")
    assert output_of(events).split()[-1] == "1"


def test_nothing_of_the_grant_is_left_in_a_session(granted, session):
    out = output_of(run(granted, session, "probe syscalls"))
    tried = pairs(out)
    assert len(tried) > 20
    for name, result in tried.items():
        if name.startswith(("mount", "umount", "unshare", "setns", "clone", "pivot", "move_mount", "fsopen", "open_tree")):
            assert result in ("EPERM", "ENOSYS"), (name, result)
    status = output_of(run(granted, session, "grep -E 'Cap(Prm|Eff|Bnd|Amb)' /proc/self/status"))
    values = [int(line.split()[1], 16) for line in status.splitlines() if line.startswith("Cap")]
    assert len(values) == 4 and all(value & ~0x4fb == 0 for value in values), status


def test_outside_is_out_of_reach(granted, session):
    out = output_of(run(granted, session,
                        "for f in /etc/x /root/x /proc/sys/kernel/hostname /sys/x /dev/x; do"
                        " (echo x >$f) 2>/dev/null && echo wrote $f; done; kill -9 1; ls /proc/1/root 2>&1; echo end"))
    assert "wrote" not in out and out.splitlines()[-1] == "end"
    assert granted.ping() == 200


def test_layers_of_other_sessions_cannot_be_read_by_users(granted, session):
    made = isolated(granted, "POST", "session", json={"workspace": {"path": "/workspace"}, "uid": 1000, "gid": 1000})
    out = output_of(run(granted, made.json()["session_id"], "ls /var/lib/execd/isolation 2>&1; echo end"))
    assert "denied" in out


def test_commit_in_a_user_namespace(granted):
    granted.run("mkdir -p /project/dir /project/swap; echo 1 >/project/dir/a; echo 2 >/project/swap/was")
    made = isolated(granted, "POST", "session", json={"workspace": {"path": "/project"}}).json()["session_id"]
    run(granted, made, "echo 3 >dir/b; rm dir/a; rm -r swap; mkdir swap; echo 4 >swap/is")
    listed = isolated(granted, "GET", f"session/{made}/diff").json()["changes"]
    assert {("deleted", "/project/dir/a"), ("added", "/project/dir/b"), ("deleted", "/project/swap/was"),
            ("added", "/project/swap/is")} <= {(row["kind"], row["path"]) for row in listed}
    answer = isolated(granted, "POST", f"session/{made}/commit")
    assert answer.status_code == 200, answer.text
    assert granted.run("cd /project; find . -type f | sort").stdout.split() == ["./dir/b", "./swap/is"]
