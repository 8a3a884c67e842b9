#!/usr/bin/env python3
"""cppcheck over every C file; what is switched off below is switched off for the reason given."""

import os
import re
import shutil
import subprocess
from glob import glob

from tree import BUILD, files, finish, skip

SUPPRESSED = {
    "missingIncludeSystem": "system headers are not its business",
    "unusedFunction": "archives and tests use them",
    "unmatchedSuppression": "files come and go",
    "variableScope": "declarations stand at the top of their idea",
    "constParameterCallback": "a callback's type is given",
    "constParameter": "a callback's type is given",
    "varFuncNullUB": "NULL is a pointer in every libc we support",
    "normalCheckLevelMaxBranches": "a remark about itself",
}


# System headers are not read, except those whose macros are declarations and loops.
MACROS = [*glob("/usr/include/ut*.h"), *glob("/usr/include/*/sys/queue.h")]


def main():
    if not shutil.which("cppcheck"):
        skip("cppcheck is not installed")
    sources = files(".c")
    cache = BUILD / "cppcheck"
    cache.mkdir(parents=True, exist_ok=True)
    command = [
        "cppcheck", "-q", "-I.", f"-j{os.cpu_count()}", "--std=c11", "--language=c", "--inline-suppr",
        "--enable=warning,performance,portability", f"--cppcheck-build-dir={cache}",
        "-D_GNU_SOURCE", '-DEXECD_VERSION="lint"',
        *[f"--include={header}" for header in MACROS], *[f"--suppress=*:{header}" for header in MACROS],
        "--template={file}:{line}: {id}: {message}",
        *[f"--suppress={rule}" for rule in SUPPRESSED], *map(str, sources),
    ]
    result = subprocess.run(command, capture_output=True, text=True)
    findings = [l for l in result.stderr.splitlines() if re.match(r"[^ ]+:\d+: ", l)]
    finish(findings, f"{len(sources)} files")


main()
