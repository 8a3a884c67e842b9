#!/usr/bin/env python3
"""The HTTP contract: route tables, OpenAPI files, error and event tables agree, in both directions.

`tests/lint/routes.py --write` rewrites proto/api/ERRORS.md from errors.def, and README's table of execd's paths.
"""

import re
import sys
from collections import namedtuple
from pathlib import Path

from tree import BUILD, code, finish, numbered, skip

try:
    import yaml
except ImportError:
    sys.path += map(str, BUILD.glob("venv/lib/python3*/site-packages"))
    try:
        import yaml
    except ImportError:
        skip("PyYAML is missing: make setup")

PROGRAMS = {
    "execd": (Path("execd/api/routes.c"), Path("proto/api/openapi-execd.yaml")),
    "shared": (Path("execd/api/shared_routes.c"), Path("proto/api/openapi-shared.yaml")),
    "server": (Path("server/api/routes.c"), Path("proto/api/openapi-server.yaml")),
}
ERRORS, EVENTS, TABLE = Path("proto/api/errors.def"), Path("proto/api/events.def"), Path("proto/api/ERRORS.md")
README = Path("README.md")
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
SHOWN = set(METHODS) - {"trace"}  # how a route for every method is shown

Route = namedtuple("Route", "method path is_open has_body summary where")
Error = namedtuple("Error", "name wire status family text group where")

# ---- the sources ----------------------------------------------------------------------------------

STRING = r'"((?:[^"\\]|\\.)*)"'
ROW = re.compile(
    rf'(?:\{{|(BOTH)\()\s*{STRING},\s*{STRING},\s*(AUTH_\w+),\s*(BODY_\w+),[^"{{}}]*?((?:{STRING}\s*)+)[}})]'
)


def joined(literals):
    return "".join(re.findall(STRING, literals)).replace('\\"', '"')


def in_openapi(pattern):
    """":name" and "*name" as OpenAPI writes them."""
    return re.sub(r"[:*](\w+)", r"{\1}", pattern)


def rows(path):
    """Routes of one C table; BOTH is one row below / and one below /v1."""
    text = code(path, keep_strings=True)
    start = text.index("api_routes[] = {")
    table = text[start:text.index("\n};", start)]
    for match in ROW.finditer(table):
        both, method, pattern, auth, body, doc = match.groups()[:6]
        where = f"{path}:{text.count(chr(10), 0, start + match.start()) + 1}"
        for prefix in ("", "/v1") if both else ("",):
            yield Route(method, in_openapi(prefix + pattern), auth == "AUTH_OPEN", body != "BODY_NONE", joined(doc), where)
    if len(re.findall(r"\bAUTH_\w+", table)) != len(ROW.findall(table)):
        yield Route("?", "?", False, False, "a row that this check cannot read", f"{path}:1")


def errors():
    group = ""
    for line, text in numbered(ERRORS.read_text(encoding="utf-8")):
        if match := re.match(r"/\* --- (.*) --- \*/", text):
            group = match.group(1)
        elif match := re.match(rf"ERR\((\w+), {STRING}, (\d+), {STRING}, {STRING}\)$", text):
            name, wire, status, family, said = match.groups()
            yield Error(name, wire, int(status), family, said, group, f"{ERRORS}:{line}")


def events():
    return re.findall(r'^EVENT\(\w+, "(\w+)", "(\w+)"', EVENTS.read_text(encoding="utf-8"), re.MULTILINE)


# ---- the OpenAPI files ----------------------------------------------------------------------------


def prefixes(doc, item):
    """Paths of a path item's own servers, relative to the document's."""
    root = doc["servers"][0]["url"]
    return [server["url"].removeprefix(root).rstrip("/") for server in item.get("servers", [{"url": root}])]


def shown(doc, file):
    """Routes as the OpenAPI file has them."""
    for path, item in doc["paths"].items():
        operations = {m: item[m] for m in METHODS if m in item}
        if item.get("x-any-method"):
            operations = {"*": {**item["get"], "summary": item.get("summary", "")}}
        for method, operation in operations.items():
            security = operation.get("security", doc["security"])
            for prefix in prefixes(doc, item):
                yield Route(method.upper(), prefix + path, security == [], "requestBody" in operation,
                            operation.get("summary", ""), str(file))


def check_any_method(doc, file):
    for path, item in doc["paths"].items():
        if item.get("x-any-method") and {m for m in METHODS if m in item} != SHOWN:
            yield f"{file}:1: {path}: x-any-method shows exactly {', '.join(sorted(SHOWN))}"


def check_parameters(doc, file):
    """Every {name} of a path is declared, and nothing else is."""
    for path, item in doc["paths"].items():
        declared = {p["name"] for p in item.get("parameters", [])}
        for method in METHODS:
            named = {p["name"] for p in item.get(method, {}).get("parameters", []) if p.get("in") == "path"}
            if method in item and declared | named != set(re.findall(r"{(\w+)}", path)):
                yield f"{file}:1: {method.upper()} {path}: its path parameters are not the declared ones"


def dangling(doc, file):
    def refs(node):
        if isinstance(node, dict):
            for key, value in node.items():
                yield from [value] if key == "$ref" else refs(value)
        elif isinstance(node, list):
            for value in node:
                yield from refs(value)

    for ref in sorted(set(refs(doc))):
        node = doc
        for part in ref.removeprefix("#/").split("/"):
            node = node.get(part) if isinstance(node, dict) else None
        if node is None:
            yield f"{file}:1: {ref} leads nowhere"


def compare_routes(table, doc, file):
    ours = {(r.method, r.path): r for r in rows(table)}
    theirs = {(r.method, r.path): r for r in shown(doc, file)}
    for key, row in ours.items():
        name = " ".join(key)
        other = theirs.get(key)
        if other is None:
            yield f"{row.where}: {name} is missing in {file}"
            continue
        if row.summary != other.summary:
            yield f"{row.where}: {name}: the row says '{row.summary}', {file} says '{other.summary}'"
        if row.is_open != other.is_open:
            yield f"{row.where}: {name}: {file} {'asks for' if row.is_open else 'lacks'} a credential"
        if row.has_body != other.has_body:
            yield f"{row.where}: {name}: {file} {'lacks a' if row.has_body else 'has a'} requestBody"
    for key in theirs.keys() - ours.keys():
        yield f"{file}:1: {' '.join(key)} has no row in {table}"


# ---- codes, events, the table ---------------------------------------------------------------------


def declared_codes(doc):
    return set(doc["components"]["schemas"]["Error"]["properties"]["code"]["enum"])


def check_codes(docs, table):
    wires = {e.wire for e in table}
    for file, doc in docs.items():
        for wire in sorted(declared_codes(doc) - wires):
            yield f"{file}:1: no error has the code {wire}"
    everywhere = set().union(*(declared_codes(doc) for doc in docs.values()))
    for error in table:
        if error.wire not in everywhere:
            yield f"{error.where}: no OpenAPI file has the code {error.wire}"
    families = [e.family for e in table]
    for error in table:
        if families.count(error.family) > 1:
            yield f"{error.where}: the short code {error.family} is taken twice"


def check_statuses(docs, table):
    known = {str(e.status) for e in table}
    for file, doc in docs.items():
        for path, item in doc["paths"].items():
            for method in METHODS:
                for status in item.get(method, {}).get("responses", {}):
                    if status[0] in "45" and status not in known:
                        yield f"{file}:1: {method.upper()} {path}: no error has the status {status}"


def check_events(doc, file):
    event = doc["components"]["schemas"]["Event"]["properties"]
    for wire, key in events():
        if wire not in event["type"]["enum"]:
            yield f"{file}:1: Event lacks the type {wire}"
        if key not in event:
            yield f"{file}:1: Event lacks the key {key} of {wire}"
    for wire in event["type"]["enum"]:
        if wire not in dict(events()):
            yield f"{file}:1: {EVENTS} has no event {wire}"


def errors_page(table):
    lines = [
        "# Errors", "",
        "Every error answer is JSON: `{\"code\": \"…\", \"message\": \"…\"}`. Programs match on the code; the message",
        "says what was wrong and ends with the short code in brackets. The text below is the message where nothing",
        "more is known.", "",
        "Made from `errors.def` by `tests/lint/routes.py --write`; the lint compares both.",
    ]
    group = None
    for error in table:
        if error.group != group:
            group = error.group
            lines += ["", f"## {group[0].upper()}{group[1:]}", "", "| Short code | HTTP | `code` | Text |", "|---|---|---|---|"]
        lines.append(f"| {error.family} | {error.status} | `{error.wire}` | {error.text} |")
    return "\n".join(lines) + "\n"


def paths_table(doc):
    """What execd serves, by path."""
    lines = []
    for path, item in doc["paths"].items():
        shown = [("any", item)] if item.get("x-any-method") else [(m.upper(), item[m]) for m in METHODS if m in item]
        said = "; ".join(f"`{method}` {o['summary'][0].lower()}{o['summary'][1:]}" for method, o in shown)
        lines.append(f"| `{path}` | {said} |")
    return "".join(f"{line}\n" for line in ["| Path | |", "|---|---|", *lines])


def with_paths(doc):
    """README with its table as it should be."""
    text = README.read_text(encoding="utf-8")
    return re.sub(r"(?<=^What execd serves:\n\n)(\|.*\n)*", lambda _: paths_table(doc), text, count=1, flags=re.MULTILINE)


def check_readme(doc):
    if README.read_text(encoding="utf-8") != with_paths(doc):
        yield f"{README}:1: the table of paths does not fit: run tests/lint/routes.py --write"


def main():
    table = list(errors())
    findings, routes = [], 0
    docs = {file: yaml.safe_load(file.read_text(encoding="utf-8")) for _, file in PROGRAMS.values()}
    execd = docs[PROGRAMS["execd"][1]]
    if "--write" in sys.argv:
        TABLE.write_text(errors_page(table), encoding="utf-8")
        README.write_text(with_paths(execd), encoding="utf-8")
    for source, file in PROGRAMS.values():
        routes += len(list(rows(source)))
        findings += compare_routes(source, docs[file], file)
        for check in (check_any_method, check_parameters, dangling):
            findings += check(docs[file], file)
    findings += check_codes(docs, table)
    findings += check_statuses(docs, table)
    findings += check_events(execd, PROGRAMS["execd"][1])
    findings += check_readme(execd)
    if ERRORS.read_text(encoding="utf-8").count("\nERR(") != len(table):
        findings.append(f"{ERRORS}:1: a row that this check cannot read")
    if not TABLE.exists() or TABLE.read_text(encoding="utf-8") != errors_page(table):
        findings.append(f"{TABLE}:1: does not fit {ERRORS}: run tests/lint/routes.py --write")
    finish(findings, f"{routes} routes, {len(table)} errors, {len(events())} events")


main()
