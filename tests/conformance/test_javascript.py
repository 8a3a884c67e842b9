"""The published JavaScript SDK: each of its tests (js/*.test.mjs, run by Node's own runner) is a case here."""

import os
import re
import subprocess
from pathlib import Path

import pytest

from harness.contract import Contract
from harness.execd import BUILD
from harness.server import KEY, SMALL

FOLDER = Path(__file__).resolve().parent / "js"
SDK = BUILD.resolve() / "js"
# A name of its own line; names made by a loop are found in the report only.
NAMED = re.compile(r'^test\("([^"]+)"', re.MULTILINE)
RESULT = re.compile(r"^(not )?ok \d+ - (.*?)(?: # SKIP ?(.*))?$", re.MULTILINE)


def names():
    for file in sorted(FOLDER.glob("*.test.mjs")):
        for name in NAMED.findall(file.read_text(encoding="utf-8")):
            yield pytest.param(file.name, name, id=f"{file.stem}: {name}")
        yield pytest.param(file.name, None, id=f"{file.stem}: all")


@pytest.fixture(scope="session")
def report(server):
    """What Node said of each file: (exit code, {test: passed, or why it was skipped}, output)."""
    missing = SDK / "missing"
    if missing.exists():
        pytest.skip(missing.read_text().strip())
    if not (SDK / "node_modules").is_dir():
        pytest.skip("the JavaScript SDK is not installed (make setup)")
    env = {"PATH": os.environ["PATH"], "HOME": str(SDK), "SDK_FOLDER": str(SDK), "DOMAIN": f"127.0.0.1:{server.port}",
           "API_KEY": KEY, "IMAGE": SMALL, "ROUTES": " ".join(Contract("execd").doc["paths"])}
    found = {}
    for file in sorted(FOLDER.glob("*.test.mjs")):
        ended = subprocess.run(["node", "--test", "--test-reporter=tap", file], env=env, timeout=120, text=True,
                               stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        lines = re.sub(r"^ +", "", ended.stdout, flags=re.MULTILINE)
        results = {name: why or not failed for failed, name, why in RESULT.findall(lines)}
        found[file.name] = (ended.returncode, results, ended.stdout)
    return found


@pytest.mark.parametrize("file, name", names())
def test_javascript(report, file, name):
    code, results, output = report[file]
    if name is None:
        assert code == 0 and results and all(results.values()), output[-8000:]
    elif isinstance(results.get(name), str):
        pytest.skip(results[name])
    else:
        assert results.get(name), output[-8000:]
