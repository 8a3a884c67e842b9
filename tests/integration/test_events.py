"""GET /events: what happens in the sandbox, as a stream that can be taken up again."""

import json
import socket
import threading

import pytest

from harness.execd import eventually


class Follower:
    """Follows the events in a thread; .events are (id, type, object)."""

    def __init__(self, agent, since=None, **headers):
        self.client = agent.new_client()
        self.context = self.client.stream("GET", "/events", params={} if since is None else {"since": since},
                                          headers=headers)
        self.response = self.context.__enter__()
        self.events, self.ended = [], False
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _read(self):
        fields = {}
        try:
            for line in self.response.iter_lines():
                name, _, value = line.partition(": ")
                if line:
                    fields[name] = value
                elif "data" in fields:
                    self.events.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
                    fields = {}
            self.ended = True
        except Exception:  # the test closed the connection
            pass

    def wait(self, kind, limit_s=10, **wanted):
        def search():
            for _, name, event in list(self.events):
                if name == kind and all(event.get(key) == value for key, value in wanted.items()):
                    return event
            return None

        return eventually(search, limit_s, f"no event {kind} {wanted}: {self.events}")

    def close(self):
        """The reading thread is woken first: a socket in use is not closed by closing its number."""
        try:
            self.response.extensions["network_stream"].get_extra_info("socket").shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # ended by itself
        self.thread.join(5)
        self.client.close()


@pytest.fixture
def follow(execd):
    opened = []

    def start(**options):
        opened.append(Follower(execd, **options))
        return opened[-1]

    yield start
    for follower in opened:
        follower.close()


def test_headers_come_at_once(follow):
    response = follow().response
    assert response.status_code == 200 and response.headers["content-type"] == "text/event-stream"
    assert response.headers["cache-control"] == "no-cache"


@pytest.mark.parametrize("since", ["x", "-1", "1.5", "", "99999999999999999999"])
def test_a_bad_number_is_refused(execd, since):
    response = execd.client.get("/events", params={"since": since})
    assert (response.status_code, response.json()["code"]) == (400, "INVALID_REQUEST_BODY")


def test_streams_end_when_execd_does(start_execd):
    agent = start_execd()
    follower = Follower(agent)
    agent.send_signal(15)
    follower.wait("shutdown")
    eventually(lambda: follower.ended, 5)
    assert agent.wait() == 0
    follower.close()
