#!/usr/bin/env python3
"""Lengths of files and functions: reports the distribution, fails on a file past 600 lines."""

import re
from statistics import median, quantiles

from tree import code, files, finish, numbered

FILE_MAX = 600
FUNCTION_NOTE = 60

SIGNATURE = re.compile(r"^[A-Za-z_][^;{}=]*?\b(\w+)\s*\([^;{}]*$")


def functions(path):
    """(name, first line, lines in the body) of each function: a brace in column 0 after a signature."""
    name = start = None
    for line, text in numbered(code(path)):
        if start is None and text.startswith("{") and name:
            start = line
        elif start is not None and text.startswith("}"):
            yield name, start, line - start - 1
            name = start = None
        elif start is None:
            match = SIGNATURE.match(text)
            if match:
                name = match.group(1)
            elif text.endswith(";") or text.startswith(("}", "struct", "static const")):
                name = None


def main():
    findings, sizes, long_ones = [], [], []
    sources = files(".c", ".h", ".cc")
    for path in sources:
        lines = path.read_text(encoding="utf-8").count("\n")
        if lines > FILE_MAX:
            findings.append(f"{path}:{lines}: {lines} lines, at most {FILE_MAX}: split by idea")
        for name, start, length in functions(path):
            sizes.append(length)
            if length > FUNCTION_NOTE:
                long_ones.append((length, f"{path}:{start}: note: {name} has {length} lines"))
    if len(sizes) > 1:
        print(f"{len(sizes)} functions: median {median(sizes):.0f} lines, "
              f"nine of ten up to {quantiles(sizes, n=10)[-1]:.0f}")
    for _, text in sorted(long_ones, reverse=True)[:10]:
        print(text)
    finish(findings, f"{len(sources)} files")


main()
