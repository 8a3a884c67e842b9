"""A15: whoever takes all of something has it, and nobody else goes without: not execd, not the sandbox beside it."""

import json
import os

import pytest

from harness.execd import eventually

KINDS = {
    "threads": 50,  # at least so many are there to be taken
    "fds": 1000,
    "inotify": 16,
    "mqueue": 1,
    "shm": 4,
    "pty": 64,
}


def hold(box, kind):
    """Takes all of it and keeps it; the number of the command."""
    answer = box.server.client.post(f"{box.url}/command", headers=box.headers,
                                    json={"command": f"probe exhaust {kind}", "background": True})
    assert answer.status_code == 200, answer.text
    command = json.loads(answer.text.split("\n\n")[0])["text"]

    def settled():
        status = box.server.client.get(f"{box.url}/command/status/{command}", headers=box.headers).json()
        log = box.server.client.get(f"{box.url}/command/{command}/logs", headers=box.headers).text
        return log or not status["running"]  # the limit of memory kills

    eventually(settled, message=f"{kind} do not end")
    return command


def take(box, kind):
    """How many there are, and why no more."""
    words = box.run(f"probe exhaust {kind}", timeout=1000).stdout.split()
    return (int(words[0]), words[1]) if words else (0, "killed")


def is_shared(kind):
    """What the kernel counts for the server's user as a whole, where this machine lets nobody change that."""
    if kind == "mqueue":
        return True  # only CAP_SYS_RESOURCE raises the limit of a user
    return kind == "inotify" and not os.access("/proc/sys/user/max_inotify_instances", os.W_OK)


@pytest.mark.parametrize("kind", KINDS)
def test_A15_only_the_workload_fails(server, kind):
    limits = {"memory": "64Mi", "pids": "150"}
    taker, neighbour = (server.create("busybox", limits=limits) for _ in range(2))
    try:
        command = hold(taker, kind)
        assert taker.ping() == 200
        files = taker.server.client.get(f"{taker.url}/files/info", headers=taker.headers, params={"path": "/etc/passwd"})
        assert files.status_code == 200, files.text
        if kind != "shm":  # its memory is full: what it starts may be killed, it is the workload's
            assert taker.run("echo alive").stdout == "alive\n"
        assert neighbour.run("echo alive").stdout == "alive\n"
        if kind != "shm" and not is_shared(kind):
            count, why = take(neighbour, kind)
            assert count >= KINDS[kind], f"only {count} {kind} are left ({why})"
        taker.server.client.delete(f"{taker.url}/command", headers=taker.headers, params={"id": command})
        assert taker.ping() == 200
    finally:
        for box in (taker, neighbour):
            box.delete()
