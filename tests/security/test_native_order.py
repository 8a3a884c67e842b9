"""Events that the server sees in another order, or all at once: nothing is mis-told and nothing lost."""

import datetime
import json
import socket
import subprocess
import time
from urllib.parse import urlsplit

import pytest

from harness.execd import eventually
from harness.kernels import in_background
from harness.native_server import API_KEY, Server
from harness.raw import RawConnection
from harness.stopped import stopped


@pytest.fixture
def own(tmp_path, busybox):
    with Server(tmp_path) as running:
        running.stalls_matter = False  # a stop may hit a round of the loop
        running.add_image("busybox", busybox)
        yield running
        running.remove_all()
        assert running.leftovers() == []


def in_seconds(seconds):
    return (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=seconds)).isoformat()


def connect(server):
    address = urlsplit(server.url)
    return socket.create_connection((address.hostname, address.port))


def renewal(server, box, seconds):
    """A whole request as bytes: nothing of it waits for an answer."""
    body = json.dumps({"expiresAt": in_seconds(seconds)})
    return (f"POST /v1/sandboxes/{box.id}/renew-expiration HTTP/1.1\r\nHost: x\r\nOPEN-SANDBOX-API-KEY: {API_KEY}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}")


def test_J14_a_renewal_that_was_sent_in_time_counts(own):
    """The server stands still while it comes and while the time runs out; it comes on a connection of its own."""
    for life_s in (2, 10, 20):  # as slow as the machine may be
        box = own.create("busybox")
        due = time.monotonic() + life_s
        assert own.api("POST", f"/sandboxes/{box.id}/renew-expiration", json={"expiresAt": in_seconds(life_s)}).status_code == 200
        with stopped(own.process.pid, max(0, due - time.monotonic()) + 0.3):
            late = RawConnection(connect(own))
            late.send(renewal(own, box, 600))
            was_in_time = time.monotonic() < due
        with late:
            answer = late.read_response()
        if was_in_time:
            break
    assert was_in_time, "the machine is too slow for this test"
    assert answer.status == 200, answer
    assert box.get().json()["status"]["state"] == "Running"


def test_a_sandbox_of_the_pool_that_is_free_in_time(own):
    """The call that has it ends, and the next one's patience too, while the server stands still."""
    def ask(method, path, **more):
        headers = {"OPEN-SANDBOX-API-KEY": API_KEY}
        return own.client.request(method, own.url.removesuffix("/v1") + path, headers=headers, **more)

    def use(command, timeout_s):
        return ask("POST", f"/pool/execute?tool_name=shell_executor&timeout={timeout_s}", json={"command": command})

    config = {"image": "busybox", "tools_config": ["shell_executor"]}
    filled = ask("POST", "/pool/initialize?pool_size=1", json=config)
    assert filled.status_code == 200, filled.text
    ident = filled.json()["sandbox_ids"][0]
    first = in_background(use, "sleep 2; echo first", 60)
    eventually(lambda: ask("GET", f"/sandbox/{ident}").json()["status"] == "busy")
    second = in_background(use, "echo second", 3)
    eventually(lambda: "_http_active_requests 3\n" in ask("GET", "/metrics").text)
    with stopped(own.process.pid, 4):
        pass
    assert first.result().json()["output"] == "first\n"
    answer = second.result()
    assert answer.status_code == 200 and answer.json()["output"] == "second\n", answer.text


AGENT = """
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) /* --listen fd:N */
{
    close(argc > 2 ? atoi(argv[2] + 3) : -1);
    usleep(300000);
    if (ENDS)
        fprintf(stderr, "its reason\\n");
    else
        sleep(1000);
    return 3;
}
"""


@pytest.mark.parametrize("ends,told", [
    (1, "execd ended while starting (exit code 3); its last words: its reason"),
    (0, "execd does not answer: the peer broke the connection"),
])
def test_an_agent_whose_socket_goes_before_it_ends(tmp_path, busybox, ends, told):
    agent = tmp_path / "agent"
    subprocess.run(["gcc", "-static", f"-DENDS={ends}", "-x", "c", "-", "-o", agent], input=AGENT, text=True, check=True)
    with Server(tmp_path, execd=agent) as server:
        server.add_image("busybox", busybox)
        answer = server.try_create("busybox")
        assert answer.status_code == 503 and told in answer.json()["message"], answer.text
        assert server.leftovers() == []
