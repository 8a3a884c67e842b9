"""What the lint scripts share: the list of our sources, comment stripping, and how to report.

Every executable in this folder is one check. It runs from the repository root with BUILD in the
environment, prints one `path:line: what is wrong and what would be right` per finding, and exits
with 0 (fine), 1 (findings) or 77 (cannot run here; the last line says why). Names that start with
`slow_` run in `make lint` only, the others in `make check` too.
"""

import os
import re
import sys
from pathlib import Path

ROOTS = ("proto", "execd", "server")
BUILD = Path(os.environ.get("BUILD", "build"))
SKIP = 77


def files(*suffixes, roots=ROOTS):
    """Our files with one of the suffixes, below the given folders, sorted."""
    found = (p for root in roots for p in Path(root).rglob("*") if p.suffix in suffixes)
    return sorted(found)


TOKENS = re.compile(
    r"""/\*.*?\*/ | //[^\n]* | "(?:\\.|[^"\\\n])*" | '(?:\\.|[^'\\\n])*'""", re.DOTALL | re.VERBOSE
)


def code(path, keep_strings=False):
    """The text of a C file with comments (and strings) blanked; line numbers stay true."""

    def blank(match):
        text = match.group(0)
        if keep_strings and text[0] in "\"'":
            return text
        return re.sub(r"[^\n]", " ", text)

    return TOKENS.sub(blank, path.read_text(encoding="utf-8"))


def numbered(text):
    return enumerate(text.splitlines(), 1)


def analysis_flags(path):
    """What an analyzer gets beside the build's flags; err.c defines what the header redefines."""
    helper = [] if path.as_posix() == "proto/base/err.c" else ["-include", "tests/lint/analysis.h"]
    return ['-DEXECD_VERSION="lint"', *helper]


def finish(findings, checked):
    """Print the findings, say how much was looked at, and leave with the right status."""
    for finding in findings:
        print(finding)
    print(f"{checked}: {len(findings)} finding(s)" if findings else f"{checked}: clean")
    sys.exit(1 if findings else 0)


def skip(reason):
    print(reason)
    sys.exit(SKIP)
