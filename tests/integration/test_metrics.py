"""GET /metrics: JSON for the SDKs, text for Prometheus, always the sandbox's own numbers."""

import os
import subprocess
import time

import pytest

from harness.execd import BUILD, eventually, n_open

PROMTOOL = BUILD / "deps/bin/promtool"
PROMETHEUS = ("application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
              "text/plain;version=0.0.4;q=0.5,*/*;q=0.1")


def values(text):
    found = {}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


@pytest.mark.parametrize("accept", [None, "*/*", "application/json"])
def test_sdks_get_json(execd, accept):
    request = execd.client.build_request("GET", "/metrics")
    del request.headers["accept"]
    if accept:
        request.headers["accept"] = accept
    response = execd.client.send(request)
    assert response.headers["content-type"] == "application/json"
    body = response.json()
    assert list(body) == ["cpu_count", "cpu_used_pct", "mem_total_mib", "mem_used_mib", "timestamp"]
    assert isinstance(body["cpu_count"], int) and '"cpu_count":' + str(body["cpu_count"]) + "," in response.text
    assert 1 <= body["cpu_count"] <= os.cpu_count() and 0 <= body["cpu_used_pct"] <= 100
    assert 0 < body["mem_used_mib"] <= body["mem_total_mib"]
    assert abs(body["timestamp"] / 1000 - time.time()) < 60


@pytest.mark.parametrize("accept, kind", [("text/plain", "text/plain; version=0.0.4"),
                                          (PROMETHEUS, "application/openmetrics-text; version=1.0.0")])
def test_prometheus_gets_text(execd, accept, kind):
    execd.command("exit 3")
    response = execd.client.get("/metrics", headers={"Accept": accept})
    assert response.headers["content-type"].startswith(kind)
    assert response.text.endswith("# EOF\n") == ("openmetrics" in kind)
    found = values(response.text)
    assert found["sandbox_cpu_seconds_total"] > 0 and found["execd_commands_started_total"] == 1
    assert found['execd_commands_finished_total{end="exit"}'] == 1


def scrape(agent):
    return values(agent.client.get("/metrics", headers={"Accept": "text/plain"}).text)


def test_requests_are_counted_by_route_and_status(execd, tmp_path):
    execd.client.get("/files/info", params={"path": "/nope"})
    execd.client.get("/nope")
    execd.client.put("/command")
    execd.new_client(token=None).get("/metrics")
    (tmp_path / "f").write_bytes(b"x" * 1000)
    execd.client.get("/files/download", params={"path": f"{tmp_path}/f"})
    for _ in range(3):
        execd.client.get("/ping")
    found = scrape(execd)

    def count(method, route, status):
        return found.get(f'execd_http_requests_total{{method="{method}",route="{route}",status="{status}"}}', 0)

    assert count("GET", "/files/info", "4xx") == 1 and count("GET", "/files/download", "2xx") == 1
    assert count("", "", "4xx") == 2 and count("GET", "/metrics", "4xx") == 1
    assert count("GET", "/ping", "2xx") >= 3
    assert found["execd_http_response_body_bytes_total"] > 1000


def test_bytes_of_bodies_are_counted(execd):
    before = scrape(execd)
    execd.command("true # " + "x" * 5000)
    after = scrape(execd)
    assert 5000 < after["execd_http_request_body_bytes_total"] - before["execd_http_request_body_bytes_total"] < 6000


def test_durations_are_a_histogram_by_class(execd):
    execd.command("true")
    execd.client.get("/files/info", params={"path": "/"})
    found = scrape(execd)
    for route_class in ("command", "files"):
        buckets = [v for k, v in found.items()
                   if k.startswith(f'execd_http_request_duration_seconds_bucket{{route_class="{route_class}"')]
        assert buckets == sorted(buckets) and len(buckets) == 9
        assert buckets[-1] == found[f'execd_http_request_duration_seconds_count{{route_class="{route_class}"}}'] == 1
    assert found['execd_http_request_duration_seconds_sum{route_class="command"}'] > 0


def test_streams_are_counted_while_they_run(execd):
    assert scrape(execd)["execd_http_open_streams"] == 0
    with execd.client.stream("GET", "/metrics/watch"):
        assert scrape_by(execd)["execd_http_open_streams"] == 1
    eventually(lambda: scrape_by(execd)["execd_http_open_streams"] == 0)


def scrape_by(agent):
    """By a connection of its own."""
    with agent.new_client() as client:
        return values(client.get("/metrics", headers={"Accept": "text/plain"}).text)


def test_process_families(execd):
    found = scrape(execd)
    assert 5 < found["process_open_fds"] <= found["process_max_fds"]
    assert 1 << 20 < found["process_resident_memory_bytes"] < 1 << 28
    assert abs(found["process_start_time_seconds"] - time.time()) < 60 and found["process_cpu_seconds_total"] >= 0
    assert found["execd_http_connections_rejected_total"] == 0
    assert found['execd_kernels{state="idle"}'] == 0


def test_rejected_connections_show(start_execd):
    agent = start_execd(launcher=["prlimit", "--nofile=48:48"])
    agent.client.get("/ping")
    crowd = []
    try:
        for _ in range(60):
            crowd.append(agent.connect())
    finally:
        for connection in crowd:
            connection.close()
    eventually(lambda: n_open(agent.pid) < 40)  # else we were rejected too
    assert scrape_by(agent)["execd_http_connections_rejected_total"] > 0


@pytest.mark.skipif(not PROMTOOL.exists(), reason="promtool is not installed (make setup)")
def test_promtool_finds_nothing(execd):
    execd.command("true")
    text = execd.client.get("/metrics", headers={"Accept": "text/plain"}).content
    ended = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, timeout=30)
    assert ended.returncode == 0 and not ended.stdout and not ended.stderr, (ended.stdout + ended.stderr).decode()


def test_cpu_time_counts_what_commands_burn(execd):
    before = values(execd.client.get("/metrics", headers={"Accept": "text/plain"}).text)
    execd.command("i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done")
    time.sleep(0.15)  # the sampler's age limit
    after = values(execd.client.get("/metrics", headers={"Accept": "text/plain"}).text)
    assert after["sandbox_cpu_seconds_total"] >= before["sandbox_cpu_seconds_total"]
    assert after["execd_commands_running"] == 0


def test_no_waiting(execd):
    execd.client.get("/metrics")
    started = time.monotonic()
    for _ in range(50):
        execd.client.get("/metrics")
    assert time.monotonic() - started < 5  # upstream takes a second for each


def test_needs_the_token(execd):
    with execd.new_client(token=None) as stranger:
        assert stranger.get("/metrics").status_code == 401
