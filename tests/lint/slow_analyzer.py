#!/usr/bin/env python3
"""gcc -fanalyzer over every C file, for the paths that the compiler's own warnings do not follow.

What it gets wrong is answered where it is said: a comment "-fanalyzer: why not" on that line or the one above."""

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


ANSWER = "-fanalyzer: "


def is_answered(where):
    path, _, number = where.rpartition(":")
    with open(path, encoding="utf-8") as file:
        lines = file.read().splitlines()[:int(number)]
    return any(ANSWER in line for line in lines[-2:])


def analyze(path):
    command = [os.environ.get("CC", "gcc"), *FLAGS, *analysis_flags(path), str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    found = (FINDING.match(line) for line in result.stderr.splitlines())
    lines = [f"{m.group(1)}: {m.group(2)}" for m in found if m and not is_answered(m.group(1))]
    if result.returncode != 0:
        lines = [f"{path}:1: does not compile: {result.stderr.strip()[-500:]}"]
    return lines


def main():
    sources = files(".c")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        findings = [line for lines in pool.map(analyze, sources) for line in lines]
    finish(sorted(set(findings)), f"{len(sources)} files")


main()
