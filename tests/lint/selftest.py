#!/usr/bin/env python3
"""The checks themselves: each must accept a small sound tree and refuse every planted fault."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from tree import BUILD, finish

HERE = Path(__file__).resolve().parent

SOUND = {
    "proto/base/text.h": "/* Text. */\n#pragma once\n\nint text_len(const char *s);\n",
    "proto/base/text.c": '#include "proto/base/text.h"\n\nint text_len(const char *s)\n{\n'
                         "    return s[0] != 0;\n}\n",
    "execd/proc/child.h": '/* Children: fork() lives here. */\n#pragma once\n\n#include "proto/base/text.h"\n',
}

# check, file, text that replaces it, a word of the finding.
FAULTS = [
    ("includes", "proto/base/up.h", '/* Up. */\n#pragma once\n#include "execd/proc/child.h"\n', "proto/"),
    ("includes", "execd/proc/up.h", '/* Up. */\n#pragma once\n#include "execd/api/x.h"\n', "may not include"),
    ("includes", "execd/proc/h.h", '/* Up. */\n#pragma once\n#include "proto/http/x.h"\n', "may not include"),
    ("includes", "server/store/s.h", '/* S. */\n#pragma once\n#include "execd/proc/child.h"\n', "share proto/"),
    ("includes", "execd/proc/main.h", '/* M. */\n#pragma once\n#include "execd/config.h"\n', "root"),
    ("includes", "execd/exec/z.c", "#include <zmq.h>\n", "zmq.h"),
    ("includes", "execd/exec/s.c", '#include "s.h"\n', "repository root"),
    ("includes", "execd/drawer/x.c", '#include "proto/base/text.h"\n', "no row"),
    ("calls", "proto/base/bad.c", "void f(char *a, char *b)\n{\n    strcpy(a, b);\n}\n", "strcpy"),
    ("calls", "execd/exec/bad.c", "int f(void)\n{\n    return fork();\n}\n", "fork"),
    ("calls", "execd/exec/bad.c", 'void *f(void)\n{\n    return getpwnam("x");\n}\n', "getpwnam"),
    ("headers", "proto/base/bare.h", "#pragma once\nint f(void);\n", "start with a comment"),
    ("headers", "proto/base/open.h", "/* Open. */\nint f(void);\n", "pragma once"),
    ("headers", "proto/base/needy.h", "/* Needy. */\n#pragma once\nsize_t f(void);\n", "compile alone"),
    ("headers", "proto/base/text.c", "#include <stdio.h>\n", "first include"),
    ("lengths", "proto/base/long.c", "int x;\n" * 601, "601 lines"),
    ("words", "proto/base/later.c", "/* TO" "DO */\n", "unfinished"),
    ("words", "proto/base/later.c", "int x; \n", "trailing"),
    ("format", "proto/base/ugly.c", "int  x ;\n", "not formatted"),
]

# The contract is checked as a whole: a change of one of these files must be found out.
CONTRACT = ["execd/api/routes.c", "execd/api/shared_routes.c", "server/api/routes.c", "proto/api/errors.def", "proto/api/events.def", "README.md",
            "proto/api/ERRORS.md", "proto/api/openapi-execd.yaml", "proto/api/openapi-server.yaml",
            "proto/api/openapi-shared.yaml"]
EDITS = [
    ("execd/api/routes.c", '{"GET", "/ping"', '{"PUT", "/ping"', "PUT /ping is missing"),
    ("execd/api/routes.c", '"Liveness"', '"Life"', "says 'Liveness'"),
    ("execd/api/routes.c", 'AUTH_OPEN, BODY_NONE, 0, h_ready', 'AUTH_REQUIRED, BODY_NONE, 0, h_ready', "lacks a credential"),
    ("execd/api/routes.c", '"*", "/proxy', '"GET", "/proxy', "GET /proxy/{port}/{rest} is missing"),
    ("server/api/routes.c", 'BOTH("POST", "/sandboxes",', 'BOTH("POST", "/boxes",', "POST /v1/boxes is missing"),
    ("server/api/routes.c", 'BODY_COLLECTED, BODY_CREATE', 'BODY_NONE, 0', "has a requestBody"),
    ("proto/api/openapi-server.yaml", "  /version:", "  /versions:", "GET /versions has no row"),
    ("proto/api/openapi-server.yaml", "- MISSING_API_KEY", "- NO_KEY", "no error has the code NO_KEY"),
    ("proto/api/openapi-execd.yaml", "schemas/FileInfo", "schemas/Info", "leads nowhere"),
    ("proto/api/openapi-execd.yaml", "stderr, status,", "stderr,", "lacks the type status"),
    ("proto/api/openapi-execd.yaml", '"416":', '"418":', "no error has the status 418"),
    ("README.md", "| `/ping` |", "| `/pong` |", "table of paths does not fit"),
    ("proto/api/errors.def", '"NET_002"', '"NET_001"', "NET_001 is taken twice"),
    ("proto/api/errors.def", '"internal error"', '"an internal error"', "routes.py --write"),
]
# The checks of files that belong together: what they are, and the changes.
WHOLES = {
    "routes": (CONTRACT, EDITS),
    "reference": (["execd/OPTIONS.md"], [("execd/OPTIONS.md", "`--insecure`", "`--unsafe`", "reference.py --write")]),
}


def check(name, tree, build=None):
    """Status and output of one check in a tree of its own."""
    with tempfile.TemporaryDirectory() as folder:
        for path, text in tree.items():
            file = Path(folder, path)
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text, encoding="utf-8")
        Path(folder, ".clang-format").write_text((HERE.parent.parent / ".clang-format").read_text())
        env = {**os.environ, "GIT_CEILING_DIRECTORIES": folder, "BUILD": build or folder}
        result = subprocess.run([sys.executable, HERE / f"{name}.py"], cwd=folder, env=env,
                                capture_output=True, text=True)
        return result.returncode, result.stdout + result.stderr


def edits(name, paths, changes):
    """What a check of files that belong together misses."""
    sound = {path: Path(path).read_text(encoding="utf-8") for path in paths}
    for path, old, new, word in changes:
        if old not in sound[path]:
            yield f"tests/lint/selftest.py:1: {path} has no {old!r}: renew this row"
            continue
        status, output = check(name, {**sound, path: sound[path].replace(old, new, 1)}, BUILD.resolve())
        if status != 77 and (status != 1 or word not in output):
            yield f"tests/lint/{name}.py:1: misses {word!r} in {path}: {output.strip()}"


def main():
    findings = []
    names = sorted({name for name, *_ in FAULTS})
    for name in names:
        status, output = check(name, SOUND)
        if status not in (0, 77):
            findings.append(f"tests/lint/{name}.py:1: refuses a sound tree: {output.strip()}")
    for name, path, text, word in FAULTS:
        status, output = check(name, {**SOUND, path: text})
        if status != 77 and (status != 1 or word not in output):
            findings.append(f"tests/lint/{name}.py:1: misses {word!r} in {path}: {output.strip()}")
    for name, (paths, changes) in WHOLES.items():
        findings += edits(name, paths, changes)
    planted = len(FAULTS) + sum(len(changes) for _, changes in WHOLES.values())
    finish(findings, f"{len(names) + len(WHOLES)} checks, {planted} planted faults")


main()
