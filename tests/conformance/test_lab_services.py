"""@jupyterlab/services from npm against the gateway surface: each test of js/lab_services.mjs is a case here."""

from pathlib import Path

import pytest

import node
from harness.jupyter import Gateway

FILE = Path(__file__).resolve().parent / "js/lab_services.mjs"


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    with Gateway(tmp_path_factory.mktemp("services")) as gateway:
        return node.run(FILE, GATEWAY=gateway.url, TOKEN=gateway.token)


@pytest.mark.parametrize("name", [pytest.param(name, id=name or "all") for name in [*node.names(FILE), None]])
def test_lab_services(report, name):
    node.check(report, name)
