"""The published JavaScript SDK: each of its tests (js/*.test.mjs, run by Node's own runner) is a case here."""

from pathlib import Path

import pytest

import node
from harness.contract import Contract
from harness.server import KEY, SMALL

FILES = sorted((Path(__file__).resolve().parent / "js").glob("*.test.mjs"))


@pytest.fixture(scope="session")
def report(server):
    env = {"DOMAIN": f"127.0.0.1:{server.port}", "API_KEY": KEY, "IMAGE": SMALL,
           "ROUTES": " ".join(Contract("execd").doc["paths"])}
    return {file: node.run(file, **env) for file in FILES}


@pytest.mark.parametrize("file, name", [pytest.param(file, name, id=f"{file.stem}: {name or 'all'}")
                                        for file in FILES for name in [*node.names(file), None]])
def test_javascript(report, file, name):
    node.check(report[file], name)
