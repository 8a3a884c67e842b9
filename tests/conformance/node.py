"""Test files in JavaScript, run by Node's own runner: what each of their tests came to."""

import os
import re
import subprocess

import pytest

from harness.execd import BUILD

SDK = BUILD.resolve() / "js"
# A name of its own line; names made by a loop are found in the report only.
NAMED = re.compile(r'^test\("([^"]+)"', re.MULTILINE)
RESULT = re.compile(r"^(not )?ok \d+ - (.*?)(?: # SKIP ?(.*))?$", re.MULTILINE)


def names(file):
    return NAMED.findall(file.read_text(encoding="utf-8"))


def run(file, **env):
    """(exit code, {test: passed, or why it was skipped}, output)."""
    missing = SDK / "missing"
    if missing.exists():
        pytest.skip(missing.read_text().strip())
    if not (SDK / "node_modules").is_dir():
        pytest.skip("the JavaScript packages are not installed (make setup)")
    ended = subprocess.run(["node", "--test", "--test-reporter=tap", file], timeout=120, text=True,
                           env={"PATH": os.environ["PATH"], "HOME": str(SDK), "SDK_FOLDER": str(SDK), **env},
                           stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    lines = re.sub(r"^ +", "", ended.stdout, flags=re.MULTILINE)
    return ended.returncode, {name: why or not failed for failed, name, why in RESULT.findall(lines)}, ended.stdout


def check(report, name):
    """One test of a report, or with None all of them."""
    code, results, output = report
    if name is None:
        assert code == 0 and results and all(results.values()), output[-8000:]
    elif isinstance(results.get(name), str):
        pytest.skip(results[name])
    else:
        assert results.get(name), output[-8000:]
