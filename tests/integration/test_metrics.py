"""GET /metrics: JSON for the SDKs, text for Prometheus, always the sandbox's own numbers."""

import os
import subprocess
import time

import pytest

from harness.execd import BUILD

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
