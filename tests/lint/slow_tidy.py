#!/usr/bin/env python3
"""clang-tidy over every C file, with the checks of .clang-tidy and the build's own flags."""

import os
import re
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import analysis_flags, files, finish, skip

FINDING = re.compile(r"^(\S+?:\d+):\d+: (?:warning|error): (.*)$")


def tidy(path):
    command = ["clang-tidy", "--quiet", "-p", ".", "--extra-arg=-Wno-unknown-warning-option",
               "--extra-arg=-Wno-error", *[f"--extra-arg={flag}" for flag in analysis_flags(path)],
               str(path)]
    result = subprocess.run(command, capture_output=True, text=True)
    found = (FINDING.match(line) for line in result.stdout.splitlines())
    lines = [f"{os.path.relpath(m.group(1))}: {m.group(2)}" for m in found if m]
    if result.returncode != 0 and not lines:
        lines = [f"{path}:1: clang-tidy fails: {result.stderr.strip()[-500:]}"]
    return lines


def main():
    if not shutil.which("clang-tidy"):
        skip("clang-tidy is not installed")
    sources = files(".c")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        findings = [line for lines in pool.map(tidy, sources) for line in lines]
    finish(sorted(set(findings)), f"{len(sources)} files")


main()
