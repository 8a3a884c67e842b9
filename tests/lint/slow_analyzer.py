#!/usr/bin/env python3
"""gcc -fanalyzer over every C file, for the paths that the compiler's own warnings do not follow."""

import os
import re
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import BUILD, analysis_flags, files, finish

FLAGS = [
    "-std=gnu17", "-D_GNU_SOURCE", "-I.", "-isystem", str(BUILD / "deps/include"), "-O1",
    "-fanalyzer", "-c", "-o", "/dev/null",
]
FINDING = re.compile(r"^(\S+?:\d+):\d+: warning: (.*\[-Wanalyzer[^\]]*\].*)$")


def analyze(path):
    command = [os.environ.get("CC", "gcc"), *FLAGS, *analysis_flags(path), str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    found = (FINDING.match(line) for line in result.stderr.splitlines())
    lines = [f"{m.group(1)}: {m.group(2)}" for m in found if m]
    if result.returncode != 0 and not lines:
        lines = [f"{path}:1: does not compile: {result.stderr.strip()[-500:]}"]
    return lines


def main():
    sources = files(".c")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        findings = [line for lines in pool.map(analyze, sources) for line in lines]
    finish(sorted(set(findings)), f"{len(sources)} files")


main()
