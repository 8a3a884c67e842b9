#!/usr/bin/env python3
"""execd/OPTIONS.md is what `execd --help` says, as tables; `tests/lint/reference.py --write` rewrites it."""

import re
import subprocess
import sys
from pathlib import Path

from tree import BUILD, finish, skip

REFERENCE = Path("execd/OPTIONS.md")
HEAD = """# Options of execd

Every option, its environment variable, and in brackets its default. Made from `execd --help` by
`tests/lint/reference.py --write`. A flag wins over its variable; `--name value`, `--name=value` and `-name value` are
the same.
"""
OPTION = re.compile(r"^  (-\w, )?\s*--(\S+)(?: (\S+))?(?:\s{2,}(.*))?$")


def groups(text):
    """(heading, [option, ...]) in the order of the text; an option is [letter, name, argument, text]."""
    found = []
    for line in text.splitlines():
        if re.fullmatch(r"[A-Z][\w ]*:", line):
            found.append((line[:-1], []))
        elif found and (match := OPTION.match(line)):
            found[-1][1].append([part or "" for part in match.groups()])
        elif found and found[-1][1] and line.startswith(" " * 20):
            found[-1][1][-1][3] += " " + line.strip()
    return [group for group in found if group[1]]


def row(letter, name, argument, text):
    variable = re.search(r"\s*\[(\$\w+)\]$", text)
    flag = f"`{letter}--{name}{' ' + argument if argument else ''}`".replace("|", "\\|")
    shown = f"`{variable[1]}`" if variable else ""
    return f"| {flag} | {shown} | {(text[:variable.start()] if variable else text).strip()} |".replace("<", "&lt;")


def reference():
    text = subprocess.run([BUILD / "execd", "--help"], capture_output=True, text=True, check=True).stdout
    parts = [HEAD]
    for heading, options in groups(text):
        parts += [f"\n## {heading}\n\n| Option | Variable | |\n|---|---|---|\n"]
        parts += [row(*option) + "\n" for option in options]
    return "".join(parts)


if not (BUILD / "execd").exists():
    skip("execd is not built: make")
wanted = reference()
if "--write" in sys.argv:
    REFERENCE.write_text(wanted, encoding="utf-8")
same = REFERENCE.exists() and REFERENCE.read_text(encoding="utf-8") == wanted
finish([] if same else [f"{REFERENCE}:1: is not what execd --help says: tests/lint/reference.py --write"], REFERENCE)
