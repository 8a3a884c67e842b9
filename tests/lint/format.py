#!/usr/bin/env python3
"""C files are formatted as .clang-format says; `make fmt` does it."""

import re
import shutil
import subprocess

from tree import files, finish, skip

PLACE = re.compile(r"^([^:]+):\d+:\d+: error:")


def main():
    if not shutil.which("clang-format"):
        skip("clang-format is not installed")
    sources = files(".c", ".h", roots=("proto", "execd", "server", "tests"))
    names = [str(path) for path in sources]
    result = subprocess.run(["clang-format", "--dry-run", "--Werror", *names], capture_output=True, text=True)
    places = {m.group(1) for line in result.stderr.splitlines() if (m := PLACE.match(line))}
    findings = [f"not formatted, run `make fmt`: {' '.join(sorted(places))}"] if places else []
    finish(findings, f"{len(names)} files")


main()
