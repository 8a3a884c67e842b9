#!/usr/bin/env python3
"""Text that must not be committed: marks of unfinished work, merge conflicts, trailing blanks."""

import re
import subprocess
from pathlib import Path

from tree import finish, numbered

# Split, so that this file does not find itself.
MARKS = re.compile(r"\b(TO" r"DO|FIX" r"ME|X" r"XX)\b")
CONFLICT = re.compile(r"^(<<<<<<< |>>>>>>> |=======$)")
TEXT = {".c", ".h", ".cc", ".def", ".py", ".sh", ".yaml", ".toml", ".md", ".sql", ""}


def tracked():
    listing = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], capture_output=True, text=True)
    if listing.returncode == 0:
        return [Path(name) for name in listing.stdout.splitlines()]
    roots = ("proto", "execd", "server", "tests", "deploy", "images")
    return [p for root in roots for p in Path(root).rglob("*")]


def main():
    findings, checked = [], 0
    for path in tracked():
        if path.suffix not in TEXT or not path.is_file() or path.is_symlink() or "corpus" in path.parts:
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        checked += 1
        for line, content in numbered(text):
            if MARKS.search(content):
                findings.append(f"{path}:{line}: unfinished work: finish it or leave it out")
            if CONFLICT.match(content):
                findings.append(f"{path}:{line}: merge conflict mark")
            if content != content.rstrip() and path.suffix != ".md":
                findings.append(f"{path}:{line}: trailing blank")
    finish(findings, f"{checked} files")


main()
