"""A real Prometheus scrapes what it is made for, and answers questions about it."""

import json
import socket
import subprocess

import httpx
import pytest

from harness import web
from harness.execd import BUILD, Execd, eventually
from harness.server import KEY

PROMETHEUS = BUILD / "deps/bin/prometheus"
pytestmark = pytest.mark.skipif(not PROMETHEUS.exists(), reason="prometheus is not installed (make setup)")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Prometheus:
    """One running Prometheus with its scrape jobs, every half second."""

    def __init__(self, folder, jobs):
        self.url = f"http://127.0.0.1:{free_port()}"
        config = folder / "prometheus.json"  # JSON is YAML
        config.write_text(json.dumps({"global": {"scrape_interval": "500ms", "scrape_timeout": "500ms"}, "scrape_configs": jobs}))
        self.log = open(folder / "prometheus.log", "w+")
        self.process = subprocess.Popen(
            [PROMETHEUS, f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
             f"--web.listen-address={self.url.removeprefix('http://')}"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def get(self, path, **params):
        answer = web.get(self.url + path, params=params).json()
        assert answer["status"] == "success", answer
        return answer["data"]

    def query(self, text):
        """The samples of an instant query: (labels, value)."""
        return [(row["metric"], float(row["value"][1])) for row in self.get("/api/v1/query", query=text)["result"]]

    def is_ready(self):
        assert self.process.poll() is None, open(self.log.name).read()[-2000:]
        try:
            return web.get(self.url + "/-/ready", timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def check_targets(self):
        """Every target was scraped, and nothing in it was strange to the parser."""
        errors = []

        def all_up():  # one scrape may come too late on a busy machine, the next one counts
            targets = self.get("/api/v1/targets")["activeTargets"]
            errors[:] = [target["lastError"] for target in targets]
            return targets and all(target["health"] == "up" for target in targets)

        try:
            eventually(all_up)
        except AssertionError as error:
            raise AssertionError(f"a target is not scraped: {errors}") from error

    def __enter__(self):
        eventually(self.is_ready, message="prometheus does not come up")
        return self

    def __exit__(self, *_):
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.close()


def value(prometheus, text, condition, limit_s=15):
    """Waits until the one sample of a query fulfils the condition."""
    def ask():
        rows = prometheus.query(text)
        return rows and len(rows) == 1 and condition(rows[0][1])

    eventually(ask, limit_s, f"no such answer to {text}")


def test_prometheus_understands_execd(tmp_path):
    (tmp_path / "execd").mkdir()
    with Execd(tmp_path / "execd", token=None) as agent:
        jobs = [{"job_name": "execd", "static_configs": [{"targets": [f"127.0.0.1:{agent.port}"]}]},
                {"job_name": "self", "metrics_path": f"/proxy/{agent.port}/metrics",
                 "static_configs": [{"targets": [f"127.0.0.1:{agent.port}"]}]}]
        for _ in range(3):
            agent.command("exit 7")
        agent.client.get("/files/info", params={"path": "/nope"})
        with Prometheus(tmp_path, jobs) as prometheus:
            prometheus.check_targets()
            value(prometheus, 'execd_commands_finished_total{job="execd",end="exit"}', lambda v: v == 3)
            value(prometheus, 'sum(execd_http_requests_total{job="execd",route="/files/info",status="4xx"})', lambda v: v == 1)
            value(prometheus, 'histogram_quantile(0.5, sum by (le) '
                              '(execd_http_request_duration_seconds_bucket{job="execd",route_class="command"}))',
                  lambda v: 0 < v < 10)
            value(prometheus, 'sandbox_memory_working_set_bytes{job="execd"} / sandbox_memory_total_bytes', lambda v: 0 < v <= 1)
            value(prometheus, 'process_open_fds{job="self"}', lambda v: v > 3)
            value(prometheus, 'rate(execd_http_requests_total{job="execd",route="/metrics",status="2xx"}[5s])', lambda v: v > 0)
            kinds = prometheus.get("/api/v1/metadata")
            assert kinds["execd_http_request_duration_seconds"][0]["type"] == "histogram"
            assert {kinds[name][0]["type"] for name in kinds if name.startswith("process_")} == {"gauge", "counter"}


def test_prometheus_understands_a_sandbox_through_the_server(tmp_path, server, sandbox):
    key = {"type": "Bearer", "credentials": KEY}
    where = [{"targets": [f"127.0.0.1:{server.port}"]}]
    jobs = [{"job_name": "server", "authorization": key, "static_configs": where},
            {"job_name": "sandbox", "authorization": key, "static_configs": where,
             "metrics_path": f"/v1/sandboxes/{sandbox.id}/proxy/44772/metrics"}]
    with Prometheus(tmp_path, jobs) as prometheus:
        prometheus.check_targets()
        value(prometheus, 'sum(execd_server_sandboxes{job="server"})', lambda v: v >= 1)
        value(prometheus, 'sandbox_memory_limit_bytes{job="sandbox"}', lambda v: v > 0)
