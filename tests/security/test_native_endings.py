"""E11, N07, N08: what is over is over, at once and once: credentials, a crashed agent, a host that was rebooted."""

import json
import os
import re
import signal
import subprocess
import uuid

import httpx
import pytest

from harness.execd import eventually
from harness.native_server import API_KEY, Server, groups, remove_groups


def status_of(box):
    return box.get().json()["status"]


def members(server):
    """Processes of its sandboxes."""
    return [line for line in server.leftovers() if line.startswith("process ")]


@pytest.fixture
def own(tmp_path, busybox):
    """A server of the test's own."""
    with Server(tmp_path) as running:
        running.add_image("busybox", busybox)
        yield running
        running.remove_all()
        assert running.leftovers() == []


def test_E11_a_deleted_sandboxes_token_opens_nothing(own):
    box, neighbour = own.create("busybox"), own.create("busybox")
    assert box.token != neighbour.token
    box.delete()
    gone = own.client.get(f"{box.url}/metrics", headers=box.headers)
    assert gone.status_code == 404 and gone.json()["code"], gone.text
    for url in (neighbour.url, box.url.replace(box.id, neighbour.id)):
        assert own.client.get(f"{url}/metrics", headers=box.headers).status_code == 401
    assert own.client.get(f"{neighbour.url}/metrics", headers=neighbour.headers).status_code == 200


def test_E11_a_key_that_was_taken_away_opens_nothing(own):
    box = own.create("busybox")
    key = "the-next-key-" + uuid.uuid4().hex
    text = own.config.read_text()
    own.stop()
    own.config.write_text(text.replace(API_KEY, key))
    own.start()
    try:
        assert own.api("GET", "/sandboxes").status_code == 401
        assert own.api("DELETE", f"/sandboxes/{box.id}").status_code == 401
        headers = {"OPEN-SANDBOX-API-KEY": key}
        assert own.client.get(f"{own.url}/sandboxes/{box.id}", headers=headers).json()["status"]["state"] == "Running"
    finally:
        own.stop()
        own.config.write_text(text)
        own.start()


def test_N07_a_crashed_agent_takes_its_workload_along(own):
    box = own.create("busybox")
    box.run("for i in 1 2 3; do setsid sleep 1000 & done; (trap '' TERM; sleep 1000) & true")
    assert len(members(own)) >= 5
    with own.client.stream("POST", f"{box.url}/command", headers=box.headers,
                           json={"command": "echo begun; sleep 1000"}) as stream:
        pieces = stream.iter_text()
        next(pieces)
        os.kill(box.pid, signal.SIGKILL)
        try:
            for _ in pieces:
                pass
        except httpx.TransportError:
            pass  # cut off: the client knows
    eventually(lambda: status_of(box)["state"] not in ("Running", "Stopping"), message="nobody noticed")
    status = status_of(box)
    assert status["state"] == "Failed" and status["reason"] and status["message"], status
    eventually(lambda: not members(own), message="half of it lives on")
    answer = own.client.post(f"{box.url}/command", headers=box.headers, json={"command": "true"})
    assert answer.status_code >= 400 and answer.json()["code"], answer.text
    box.delete()
    assert own.leftovers() == []


def reboot(server, stranger):
    """What a reboot leaves: the files. The numbers in them may be somebody else's by now."""
    server.kill()
    for folder in (server.state / "sandboxes").iterdir():
        file = folder / "state.json"
        state = json.loads(file.read_text())
        os.kill(state["pid"], signal.SIGKILL)
    eventually(lambda: not members(server), message="the sandboxes do not die")
    for folder in (server.state / "sandboxes").iterdir():
        file = folder / "state.json"
        text = file.read_text()
        state = json.loads(text)
        text = text.replace(state["boot_id"], str(uuid.uuid4()))
        file.write_text(re.sub(r'("pid":\s*)\d+', rf"\g<1>{stranger}", text))
    for group in list(groups(server.group)):
        for below, _, _ in os.walk(group, topdown=False):
            os.rmdir(below)
    remove_groups(server.group)


def test_N08_after_a_reboot_everything_is_over_once(own):
    boxes = [own.create("busybox") for _ in range(3)]
    stranger = subprocess.Popen(["sleep", "1000"])
    try:
        reboot(own, stranger.pid)
        own.start()
        first = {}
        for box in boxes:
            eventually(lambda box=box: status_of(box)["state"] in ("Failed", "Terminated"), message="it is said to live")
            first[box.id] = status_of(box)
            assert first[box.id]["reason"] and first[box.id]["message"], first
            answer = own.api("GET", f"/sandboxes/{box.id}/proxy/44772/ping", headers=box.headers)
            assert answer.status_code >= 400 and answer.json()["code"], answer.text
        own.kill()
        own.start()
        assert {box.id: status_of(box) for box in boxes} == first  # and not said again
        assert stranger.poll() is None, "somebody else was killed"
        for box in boxes:
            box.delete()
        assert stranger.poll() is None
        assert own.leftovers() == []
        assert own.create("busybox").run("echo new").stdout == "new\n"
    finally:
        stranger.kill()
        stranger.wait()
