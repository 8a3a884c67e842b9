"""Pages in browsers and execd-server: with a key ms-enclave's routes are theirs, without one they are kept out."""

import os

import httpx
import pytest

from harness.server import KEY, Server

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the built-in runtime needs root")

PAGE = {"Origin": "https://page.example"}
ENCLAVE = '[enclave]\nlisten = "127.0.0.1:0"\n'


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("guarded"), group="execd-test-pages", extra=ENCLAVE) as server:
        yield server


@pytest.fixture(scope="module")
def keyless(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("keyless"), key=None, group="execd-test-pages-open") as server:
        yield server


def enclave(server):
    return f"http://127.0.0.1:{server.wait_log('listening for ms-enclave')['port']}"


@pytest.mark.parametrize("path, method", [("/sandbox/create", "POST"), ("/sandboxes", "GET"), ("/stats", "GET"),
                                          ("/pool/execute", "POST"), ("/sandbox/x/stop", "POST"), ("/health", "GET")])
def test_pages_may_use_what_they_have_the_key_for(guarded, path, method):
    for base in (guarded.base, enclave(guarded)):
        asked = httpx.options(base + path, headers={**PAGE, "Access-Control-Request-Method": method,
                                                    "Access-Control-Request-Headers": "content-type, x-api-key"})
        assert asked.status_code == 200 and asked.headers["access-control-allow-origin"] == "*"
        assert method in asked.headers["access-control-allow-methods"]
        assert asked.headers["access-control-allow-headers"] == "content-type, x-api-key"
    answer = httpx.get(f"{guarded.base}/stats", headers={**PAGE, "X-API-Key": KEY})
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "*"


def test_pages_without_the_key_learn_nothing(guarded):
    answer = httpx.get(f"{enclave(guarded)}/sandboxes", headers=PAGE)
    assert answer.status_code == 401 and set(answer.json()) == {"code", "message", "detail"}


def test_our_own_routes_are_no_pages_business(guarded):
    for method, path in (("GET", "/v1/sandboxes"), ("GET", "/metrics"), ("OPTIONS", "/v1/sandboxes")):
        answer = guarded.client.request(method, path, headers=PAGE)
        assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("method, path", [("POST", "/v1/sandboxes"), ("POST", "/sandbox/create?sandbox_type=docker"),
                                          ("POST", "/pool/initialize"), ("GET", "/v1/sandboxes"), ("DELETE", "/v1/sandboxes/x")])
def test_without_a_key_pages_of_others_are_refused(keyless, method, path):
    """A form of any page reaches the loopback: what it sends must have no effect."""
    answer = keyless.client.request(method, path, headers={**PAGE, "Content-Type": "text/plain"}, content="{}")
    assert answer.status_code == 403 and answer.json()["code"] == "FORBIDDEN"
    assert "access-control-allow-origin" not in answer.headers


def test_without_a_key_everybody_else_is_served(keyless):
    assert keyless.client.get("/v1/sandboxes").json()["items"] == []
    own = {"Origin": keyless.base}
    assert keyless.client.get("/v1/sandboxes", headers=own).status_code == 200
    assert "access-control-allow-origin" not in keyless.client.get("/stats", headers=own).headers
