"""The OpenAPI files as a test reads them: operations, schemas, and the envelope of every error."""

import re
import uuid
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
METHODS = ("get", "put", "post", "delete", "options", "head", "patch")
SHORT_CODE = re.compile(r" \[[A-Z]+_\d{3}\]$")


class Contract:
    def __init__(self, name):
        self.doc = yaml.safe_load((ROOT / f"proto/api/openapi-{name}.yaml").read_text(encoding="utf-8"))
        self.codes = set(self.doc["components"]["schemas"]["Error"]["properties"]["code"]["enum"])

    def operations(self, any_method=False):
        """(method, path, operation) of each, below every prefix; routes for every method only when asked for."""
        root = self.doc["servers"][0]["url"]
        for path, item in self.doc["paths"].items():
            if item.get("x-any-method", False) != any_method:
                continue
            for server in item.get("servers", [{"url": root}]):
                for method in METHODS:
                    if method in item:
                        yield method.upper(), server["url"].removeprefix(root) + path, item[method]

    def methods(self):
        """The methods of each path, HEAD with GET."""
        found = {}
        for method, path, _ in self.operations():
            found.setdefault(path, set()).update({"GET", "HEAD"} if method == "GET" else {method})
        return found

    def is_open(self, operation):
        return operation.get("security", self.doc["security"]) == []

    def check_error(self, response, *statuses):
        assert response.status_code in statuses, response.text
        assert response.headers["Content-Type"] == "application/json"
        body = response.json()
        assert body["code"] in self.codes, body
        assert SHORT_CODE.search(body["message"]), body

    def resolve(self, node):
        """A schema or parameter behind its $ref."""
        while "$ref" in node:
            target = self.doc
            for part in node["$ref"].removeprefix("#/").split("/"):
                target = target[part]
            node = target
        return node


def filled(path, **known):
    """A path with values that name nothing, but for the known ones."""
    nobody = str(uuid.UUID(int=0))
    values = {"port": "1", "rest": "nothing", **known}
    return re.sub(r"{(\w+)}", lambda match: values.get(match.group(1), nobody), path)
