"""A recipe: the folder that says what is in an image. Reads and checks recipe.toml, hashes it all.

The hash covers everything in this repository that decides the output: the recipe's folder, its
base's, the builder itself, the architecture, and SOURCE_DATE_EPOCH where it overrides the recipe.
"""

import hashlib
import os
import platform
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from .failure import Failure

IMAGES = Path(__file__).resolve().parent.parent

# Every key a recipe may have, with its type; a recipe has either `from` or `[debian]`.
TOP = {"from": str, "epoch": int, "customize": str, "debian": dict, "python": dict, "node": dict, "go": dict,
       "config": dict}
DEBIAN = {"suite": str, "packages": list}
PYTHON = {"version": str, "wanted": list, "without": list, "remove": list, "place": list}
NODE = {"program": str, "remove": list}
GO = {"source": str, "place": str}
CONFIG = {"Env": list, "Entrypoint": list, "Cmd": list, "WorkingDir": str, "User": str}


@dataclass(frozen=True)
class Recipe:
    folder: Path
    base: "Recipe | None"
    epoch: int
    customize: str | None = None  # a Python program that runs inside the root before it is packed
    debian: dict = field(default_factory=dict)
    python: dict = field(default_factory=dict)
    node: dict = field(default_factory=dict)
    go: dict = field(default_factory=dict)
    own_config: dict = field(default_factory=dict)

    @property
    def name(self):
        return self.folder.name

    @property
    def requirements(self):
        return self.folder / "requirements.txt"

    @property
    def python_version(self):
        return self.python.get("version") or (self.base.python_version if self.base else None)

    @property
    def site(self):
        """Where PyPI packages go: below /usr/local, as Debian's Python expects them."""
        return f"usr/local/lib/python{self.python_version}/dist-packages"

    @property
    def config(self):
        """The image configuration: the base's, variables added or replaced, other keys replaced."""
        merged = dict(self.base.config if self.base else {"Env": [], "Entrypoint": None})
        own = dict(self.own_config)
        env = dict(pair.split("=", 1) for pair in merged["Env"] + own.pop("Env", []))
        return {**merged, **own, "Env": [f"{name}={value}" for name, value in env.items()]}

    def hash(self):
        digest = hashlib.sha256()
        digest.update(f"{platform.machine()} {self.epoch} {self.base and self.base.hash()}\n".encode())
        for root in (self.folder, IMAGES / "builder"):
            for path in sorted(p for p in root.rglob("*") if p.is_file() and p.suffix != ".pyc"):
                content = path.read_bytes()
                executable = bool(path.stat().st_mode & 0o100)
                digest.update(f"{path.relative_to(root)} {executable} {len(content)}\n".encode() + content)
        return digest.hexdigest()


def check(where, table, known):
    for key, value in table.items():
        if key not in known:
            raise Failure(f"{where}: unknown key '{key}' (known: {', '.join(known)})")
        if type(value) is not known[key]:
            raise Failure(f"{where}: '{key}' must be {known[key].__name__}, not {type(value).__name__}")
        if isinstance(value, list) and not all(isinstance(item, str) for item in value):
            raise Failure(f"{where}: every item of '{key}' must be text")


def load(folder):
    """The recipe in a folder; Failure names the file and the key that is wrong."""
    path = Path(folder).resolve() / "recipe.toml"
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        names = ", ".join(found.name for found in folders())
        raise Failure(f"no recipe '{path}' (there are: {names})") from None
    except ValueError as error:
        raise Failure(f"{path}: {error}") from None
    check(path, table, TOP)
    for name, known in (("debian", DEBIAN), ("python", PYTHON), ("node", NODE), ("go", GO), ("config", CONFIG)):
        check(f"{path}: [{name}]", table.get(name, {}), known)
    if ("from" in table) == ("debian" in table):
        raise Failure(f"{path}: needs either 'from' (another recipe) or [debian]")
    for name, needed in (("debian", DEBIAN), ("node", ("program",)), ("go", GO)):
        if missing := [key for key in needed if name in table and key not in table[name]]:
            raise Failure(f"{path}: [{name}] lacks '{missing[0]}'")
    try:
        epoch = int(os.environ.get("SOURCE_DATE_EPOCH") or table["epoch"])
    except KeyError:
        raise Failure(f"{path}: lacks 'epoch'") from None
    except ValueError:
        raise Failure(f"SOURCE_DATE_EPOCH must be seconds, not '{os.environ['SOURCE_DATE_EPOCH']}'") from None
    base = load(path.parent.parent / table["from"]) if "from" in table else None
    return Recipe(path.parent, base, epoch, table.get("customize"), table.get("debian", {}),
                  table.get("python", {}), table.get("node", {}), table.get("go", {}), table.get("config", {}))


def folders():
    """Every recipe's folder, bases before what builds on them."""
    found = {path.parent.name: path.parent for path in sorted(IMAGES.glob("*/recipe.toml"))}
    depth = {}

    def measure(name):
        if name not in depth:
            base = tomllib.loads((found[name] / "recipe.toml").read_text(encoding="utf-8")).get("from")
            depth[name] = 1 + measure(base) if base in found else 0
        return depth[name]

    return sorted(found.values(), key=lambda folder: (measure(folder.name), folder.name))
