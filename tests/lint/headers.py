#!/usr/bin/env python3
"""Every header says what it is for, guards itself, compiles alone, and is its .c's first include."""

import os
import re
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor

from tree import BUILD, code, files, finish

FLAGS = (
    "-std=gnu17 -D_GNU_SOURCE -I. -fsyntax-only -Wall -Wextra -Werror -Wno-unused-function "
    f"-Wno-unused-macros -isystem {BUILD}/deps/include -x c"
)


def compiles_alone(header):
    """Compiled as the only include of an empty unit, so that pragma once and order do not hide."""
    unit = f'#include "{header.as_posix()}"\n#include "{header.as_posix()}"\nint header_alone;\n'
    command = [os.environ.get("CC", "gcc"), *shlex.split(FLAGS), "-"]
    result = subprocess.run(command, input=unit, capture_output=True, text=True)
    if result.returncode == 0:
        return []
    first = next((l for l in result.stderr.splitlines() if "error" in l), result.stderr.strip())
    return [f"{header}:1: does not compile alone: {first}"]


def well_formed(header):
    text = header.read_text(encoding="utf-8")
    findings = []
    if not text.startswith("/*"):
        findings.append(f"{header}:1: must start with a comment that says what the module is for")
    if "#pragma once" not in text:
        findings.append(f"{header}:1: has no #pragma once")
    return findings


def first_include(source):
    own = source.with_suffix(".h")
    if not own.exists():
        return []
    match = re.search(r'^\s*#\s*include\s*["<]([^">]+)', code(source, keep_strings=True), re.M)
    if match and match.group(1) == own.as_posix():
        return []
    return [f'{source}:1: its own header "{own}" must be the first include']


def main():
    headers = files(".h")
    findings = [f for header in headers for f in well_formed(header)]
    findings += [f for source in files(".c") for f in first_include(source)]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for result in pool.map(compiles_alone, headers):
            findings += result
    finish(findings, f"{len(headers)} headers")


main()
