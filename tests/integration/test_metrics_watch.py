"""GET /metrics/watch: one sampler for all who watch, valid server-sent events, and nobody waits for a slow one."""

import json
import re
import resource
import selectors
import socket
import time

import pytest

from harness.execd import TOKEN, TOKEN_HEADER, cpu_s, eventually, rss_kib
from harness.patience import PATIENCE_S

HEAD = f"GET /metrics/watch HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\n\r\n".encode()
WATCHERS = 1000


def test_C32_frames_are_standard_events(execd):
    with execd.client.stream("GET", "/metrics/watch") as response:
        assert response.headers["content-type"] == "text/event-stream"
        lines = response.iter_lines()
        frames = [(next(lines), next(lines)) for _ in range(2)]
    samples = [json.loads(data.removeprefix("data: ")) for data, blank in frames]
    assert all(blank == "" for _, blank in frames)
    assert [list(s) for s in samples] == [["cpu_count", "cpu_used_pct", "mem_total_mib", "mem_used_mib", "timestamp"]] * 2
    assert samples[0]["timestamp"] < samples[1]["timestamp"]


def collect(sockets, enough):
    """Reads all of them until each has `enough` frames; the data by socket."""
    data = {s: b"" for s in sockets}
    left, deadline = set(sockets), time.monotonic() + PATIENCE_S
    with selectors.DefaultSelector() as selector:
        for s in sockets:
            selector.register(s, selectors.EVENT_READ)
        while left and time.monotonic() < deadline:
            for key, _ in selector.select(0.5):
                data[key.fileobj] += key.fileobj.recv(65536)
                if data[key.fileobj].count(b"data: ") >= enough:
                    left.discard(key.fileobj)
    assert not left, f"{len(left)} watchers got too little"
    return data


@pytest.fixture
def many_files():
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = min(hard, 8192)
    if wanted < WATCHERS + 200:
        pytest.skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, wanted), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_C14_a_thousand_watchers_and_one_that_reads_nothing(many_files, start_execd):
    execd = start_execd()
    before = rss_kib(execd.pid)
    stalled = execd.connect()
    sockets = [execd.connect() for _ in range(WATCHERS)]
    try:
        for s in [stalled, *sockets]:
            s.sendall(HEAD)
        data = collect(sockets, 3)
        assert len({time for d in data.values() for time in frames(d)}) < WATCHERS / 10, "one sample serves all"
        assert rss_kib(execd.pid) - before < 64 * 1024
        assert execd.client.get("/ping").status_code == 200
    finally:
        for s in [stalled, *sockets]:
            s.close()
    text = {"Accept": "text/plain"}
    eventually(lambda: "execd_http_active_requests 1\n" in execd.client.get("/metrics", headers=text).text)


def test_watching_costs_no_cpu(execd):
    with execd.connect() as s:
        s.sendall(HEAD)
        assert b" 200 " in s.recv(4096)
        spent = cpu_s(execd.pid)
        time.sleep(1)
        assert cpu_s(execd.pid) - spent < 0.2


def frames(data):
    return [json.loads(whole)["timestamp"] for whole in re.findall(rb"data: (.*)\n", data)]


def test_C14_who_reads_nothing_skips_samples(execd):
    """Answers that are not read fill the socket before the watch begins, so that its first frame already waits."""
    text = f"GET /metrics HTTP/1.1\r\nHost: x\r\n{TOKEN_HEADER}: {TOKEN}\r\nAccept: text/plain\r\n\r\n".encode()
    size = len(execd.client.get("/metrics", headers={"Accept": "text/plain"}).content)
    n = 380_000 // size  # more than a socket takes, less than what stops the connection from going on
    with execd.connect() as stalled, execd.connect() as other:
        stalled.sendall(text * n + HEAD)
        other.sendall(HEAD)
        assert len(frames(collect([other], 4)[other])) >= 4
        data = collect([stalled], 2)[stalled]
    times = frames(data[data.index(b"text/event-stream"):])
    assert times[1] - times[0] > 2500, "the seconds that it slept through were not kept for it"


def test_the_stream_ends_when_execd_does(start_execd):
    agent = start_execd()
    with socket.socket(socket.AF_UNIX) as s:
        agent.client.get("/ping")
        s.connect(str(agent.socket))
        s.sendall(HEAD)
        s.settimeout(PATIENCE_S)
        s.recv(65536)
        agent.send_signal(15)
        tail = b""
        while part := s.recv(65536):
            tail += part
    assert tail.endswith(b"0\r\n\r\n")
    assert agent.wait() == 0
