"""The field `policy` of POST /command: what one command may do less than its sandbox; refused, or it holds."""

import json

import pytest

from harness.execd import output_of


def supported(execd):
    return execd.client.get("/capabilities").json() if execd.client.get("/capabilities").status_code == 200 else {}


def run(execd, command, **policy):
    return execd.command(command, policy=policy)


def refused(execd, policy, *statuses):
    response = execd.client.post("/command", json={"command": "echo ran >&2", "policy": policy})
    assert response.status_code in statuses, response.text
    body = response.json()
    assert body["code"] and body["message"]
    return body


def test_rlimits_hold(execd):
    assert output_of(run(execd, "ulimit -n; ulimit -c", rlimits={"nofile": 33})).split()[0] == "33"
    events = run(execd, "head -c 100000 /dev/zero > /tmp/policy-$$; s=$?; rm -f /tmp/policy-$$; exit $s", rlimits={"fsize": 1000})
    assert events[-1]["type"] == "error"
    assert output_of(execd.command("ulimit -n")) != "33\n"  # the next one has its own


def test_nice_is_added(execd):
    assert output_of(run(execd, "nice", nice=5)).strip() == str(int(output_of(execd.command("nice"))) + 5)


def test_no_new_privs(execd):
    assert "NoNewPrivs:\t1" in output_of(run(execd, "cat /proc/self/status", no_new_privs=True))


def test_hardened_profile_refuses_and_the_rest_works(execd):
    events = run(execd, "unshare -U true 2>&1; echo s=$?; ls / >/dev/null && echo fine", seccomp="hardened")
    assert "s=0" not in output_of(events) and output_of(events).endswith("fine\n")
    assert "Seccomp:\t2" in output_of(run(execd, "cat /proc/self/status", seccomp="hardened"))


def test_network_none(execd):
    script = "python3 -c 'import socket\ntry: socket.socket(); print(\"open\")\nexcept OSError as e: print(\"refused\")\nsocket.socketpair(); print(\"unix\")'"
    assert output_of(run(execd, script, network="none")) == "refused\nunix\n"
    assert output_of(execd.command(script)) == "open\nunix\n"


def test_landlock_holds_or_is_refused(execd, tmp_path):
    open_dir, closed = tmp_path / "open", tmp_path / "closed"
    for folder in (open_dir, closed):
        folder.mkdir()
        (folder / "file").write_text("secret\n")
    policy = {"landlock": {"ro": ["/etc", "/dev"], "rw": [str(open_dir)], "exec": ["/usr", "/lib", "/lib64", "/bin"]}}
    script = f"cat {open_dir}/file; echo new > {open_dir}/made; cat {closed}/file 2>&1; echo x > {closed}/made; true"
    response = execd.client.post("/command", json={"command": script, "cwd": "/", "policy": policy})
    if response.status_code != 200:  # this kernel has no Landlock: then it must be said, and nothing may run
        assert response.json()["code"] == "POLICY_UNSUPPORTED" and not (open_dir / "made").exists()
        return
    assert "secret\n" in response.text.replace("\\n", "\n") and "Permission denied" in response.text
    assert (open_dir / "made").exists() and not (closed / "made").exists()


@pytest.mark.parametrize("policy", [
    5, [], "hardened", {"unknown": 1}, {"nice": -1}, {"nice": 20}, {"nice": "5"}, {"rlimits": {"nofile": -1}}, {"rlimits": {"no_such": 1}},
    {"rlimits": []}, {"seccomp": "none"}, {"network": "some"}, {"landlock": {"ro": "x"}}, {"landlock": {"ro": ["relative"]}},
    {"landlock": {"tcp_bind": [0, 70000]}}, {"no_new_privs": "yes"}, {"landlock": {"ro": ["/no/such/folder"]}}],
    ids=lambda p: json.dumps(p)[:40])
def test_bad_policies_start_nothing(execd, policy):
    refused(execd, policy, 400, 501)
