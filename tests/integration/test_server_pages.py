"""Pages in browsers and execd-server: with a key ms-enclave's routes are theirs, without one they are kept out."""

import os

import httpx
import pytest

from harness import web
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
    state = tmp_path_factory.mktemp("keyless")
    section = f'eip = "boxes.example:8080"\nunix_socket = "{state}/socket"\n'
    with Server(state, key=None, group="execd-test-pages-open", section=section) as server:
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
    answer = web.get(f"{guarded.base}/stats", headers={**PAGE, "X-API-Key": KEY})
    assert answer.status_code == 200 and answer.headers["access-control-allow-origin"] == "*"


def test_pages_without_the_key_learn_nothing(guarded):
    answer = web.get(f"{enclave(guarded)}/sandboxes", headers=PAGE)
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


def raw(server, host, path="/v1/sandboxes", method="GET"):
    headers = {"Host": host, "Origin": f"http://{host}"} if host else {}
    return web.request(method, server.base + path, headers=headers)


@pytest.mark.parametrize("host", ["evil.example:{}", "evil.example", "127.0.0.1.evil.example:{}", "localhost.evil.example"])
@pytest.mark.parametrize("method, path", [("GET", "/v1/sandboxes"), ("DELETE", "/sandboxes/x"), ("GET", "/stats"),
                                          ("GET", "/metrics"), ("POST", "/pool/execute")])
def test_without_a_key_a_rebound_name_is_refused(keyless, host, method, path):
    """To the browser such a page is of our own origin: only the name tells."""
    answer = raw(keyless, host.format(httpx.URL(keyless.base).port), path, method)
    assert answer.status_code == 403 and answer.json()["code"] == "FORBIDDEN" and "[AUTH_007]" in answer.json()["message"]


@pytest.mark.parametrize("host", ["localhost:{}", "127.0.0.1:{}", "[::1]:{}", "boxes.localhost", "Boxes.Example:{}"])
def test_without_a_key_names_of_our_own_are_served(keyless, host):
    assert raw(keyless, host.format(httpx.URL(keyless.base).port)).status_code == 200


def test_without_a_key_a_socket_asks_for_no_name(keyless):
    with httpx.Client(transport=httpx.HTTPTransport(uds=f"{keyless.state}/socket"), base_url="http://sandboxes.example") as client:
        assert client.get("/v1/sandboxes").status_code == 200


def test_with_a_key_any_name_is_served(guarded):
    answer = web.get(f"{guarded.base}/v1/sandboxes", headers={"Host": "boxes.example", "OPEN-SANDBOX-API-KEY": KEY})
    assert answer.status_code == 200


def test_without_a_key_everybody_else_is_served(keyless):
    assert keyless.client.get("/v1/sandboxes").json()["items"] == []
    own = {"Origin": keyless.base}
    assert keyless.client.get("/v1/sandboxes", headers=own).status_code == 200
    assert "access-control-allow-origin" not in keyless.client.get("/stats", headers=own).headers
