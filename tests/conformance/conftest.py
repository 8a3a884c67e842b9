"""The published SDKs, unmodified, against a real server and its built-in runtime."""

import shutil
import tempfile
from datetime import timedelta
from pathlib import Path

import pytest

from harness.server import KEY, SMALL, Host, Server, import_image, why_not


@pytest.fixture(scope="session")
def server():
    reason = why_not()
    if reason:
        pytest.skip(reason)
    state = Path(tempfile.mkdtemp(prefix="execd-conformance-"))
    try:
        import_image(state)
        host = Host(state, "execd-conformance")
        before = host.snapshot()
        with Server(state, group="execd-conformance", extra='[enclave]\nlisten = "127.0.0.1:0"\n') as running:
            yield running
        host.check_back_to(before, "processes", "mounts", "groups")
    finally:
        shutil.rmtree(state, ignore_errors=True)


def connection(server, kind, **options):
    return kind(api_key=KEY, domain=f"127.0.0.1:{server.port}", request_timeout=timedelta(seconds=30), **options)


@pytest.fixture(scope="session")
def sandbox(server):
    """One sandbox for the tests that leave it as they find it."""
    from opensandbox import SandboxSync
    from opensandbox.config import ConnectionConfigSync

    made = SandboxSync.create(SMALL, connection_config=connection(server, ConnectionConfigSync),
                              resource={"cpu": "1", "memory": "512Mi"}, env={"GREETING": "hello"},
                              metadata={"team": "conformance"})
    yield made
    made.kill()
    made.close()
