"""The image builder's own rules: recipes, hashes, mirrors, archives. Nothing is downloaded here."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "images"))

from builder import debian, python, recipe, rootfs  # noqa: E402
from builder.failure import Failure, reason  # noqa: E402

ONE_LINE = """
# deb http://commented.invalid/debian bookworm main
deb [arch=amd64] http://other.invalid/tools bookworm-tools main
deb-src http://source.invalid/debian bookworm main
deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] http://mirror.invalid/debian bookworm main contrib
deb http://mirror.invalid/debian-security bookworm-security main
"""
DEB822 = """
Types: deb
URIs: http://disabled.invalid/debian
Suites: bookworm
Components: main
Enabled: no

Types: deb deb-src
URIs: http://mirror.invalid/debian/
Suites: bookworm bookworm-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.invalid/debian-security
Suites: bookworm-security
Components: main
"""


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Pretends that this machine is Debian 12 with the given source file."""
    def pretend(name, text):
        parts = tmp_path / "sources.list.d"
        parts.mkdir()
        (parts / name).write_text(text)
        (tmp_path / "lists/partial").mkdir(parents=True)
        config = tmp_path / "apt.conf"
        config.write_text(f'Dir::Etc::sourcelist "/dev/null"; Dir::Etc::sourceparts "{parts}";\n'
                          f'Dir::State::lists "{tmp_path}/lists"; Acquire::http::Proxy "http://proxy.invalid:3128";\n')
        monkeypatch.setenv("APT_CONFIG", str(config))
        monkeypatch.setattr("platform.freedesktop_os_release",
                            lambda: {"ID": "debian", "VERSION_CODENAME": "bookworm"})
    return pretend


@pytest.mark.parametrize("name, text", [("machine.list", ONE_LINE), ("machine.sources", DEB822)])
def test_mirror_comes_from_the_machines_sources(machine, name, text):
    machine(name, text)
    assert debian.sources("trixie") == [
        "deb http://mirror.invalid/debian/ trixie main",
        "deb http://mirror.invalid/debian-security/ trixie-security main",
    ]


def test_no_debian_mirror_is_said(machine):
    machine("machine.list", "deb http://other.invalid/tools stable-tools main\n")
    with pytest.raises(Failure, match="name no Debian mirror"):
        debian.sources("trixie")


def test_proxy_of_the_machine_is_used(machine):
    machine("machine.list", ONE_LINE)
    assert 'Acquire::http::Proxy "http://proxy.invalid:3128";' in debian.apt_settings()


@pytest.fixture
def recipes(tmp_path):
    """A copy of the image folder that a test may change."""
    copy = tmp_path / "images"
    shutil.copytree(ROOT / "images", copy, ignore=shutil.ignore_patterns("__pycache__"))
    return copy


def printed_hash(folder, **env):
    done = subprocess.run([folder / "build", "--hash"], capture_output=True, text=True, check=True,
                          env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1", **env})
    assert len(done.stdout.strip()) == 64
    return done.stdout


@pytest.mark.parametrize("changed", [
    "python-data/recipe.toml", "python-data/requirements.txt", "python-data/font_cache.py",
    "python-code-interpreter/requirements.txt", "builder/rootfs.py",
    "python-code-interpreter/root/usr/local/share/jupyter/kernels/python3/kernel.json",
])
def test_hash_follows_everything_that_decides(recipes, changed):
    before = printed_hash(recipes / "python-data")
    assert printed_hash(recipes / "python-data") == before
    with open(recipes / changed, "a") as file:
        file.write("\n")
    assert printed_hash(recipes / "python-data") != before


def test_hash_follows_the_epoch(recipes):
    assert printed_hash(recipes / "python-data", SOURCE_DATE_EPOCH="1") != printed_hash(recipes / "python-data")


@pytest.mark.parametrize("text, words", [
    ("epoch = 1\nfrom = 'a'\npakages = []", "unknown key 'pakages'"),
    ("epoch = '1'\nfrom = 'a'", "'epoch' must be int"),
    ("epoch = 1", "needs either 'from'"),
    ("epoch = 1\n[debian]\nsuite = 'trixie'", "lacks 'packages'"),
    ("epoch = 1\n[debian]\nsuite = 'trixie'\npackages = [1]", "every item of 'packages'"),
    ("[debian]\nsuite = 'trixie'\npackages = []", "lacks 'epoch'"),
    ("epoch = ", "recipe.toml"),
])
def test_wrong_recipes_are_named(tmp_path, monkeypatch, text, words):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    (tmp_path / "recipe.toml").write_text(text)
    with pytest.raises(Failure, match=words):
        recipe.load(tmp_path)


def test_missing_recipe_lists_what_there_is(tmp_path):
    with pytest.raises(Failure, match="python-code-interpreter, python-data"):
        recipe.load(tmp_path)


def test_config_of_a_base_is_extended():
    base = recipe.load(ROOT / "images/python-code-interpreter").config
    data = recipe.load(ROOT / "images/python-data").config
    assert data["Env"][:len(base["Env"])] == base["Env"] and len(data["Env"]) > len(base["Env"])
    assert data["Cmd"] == base["Cmd"] == ["tail", "-f", "/dev/null"]


def make_tree(root, names):
    root.mkdir()
    for name in names:
        (root / name).parent.mkdir(exist_ok=True)
        (root / name).write_text(f"content of {name}")
        (root / name).chmod(0o644)
    for path in (root, *root.rglob("*")):
        if path.is_dir():
            path.chmod(0o755)


def test_archive_depends_on_content_only(tmp_path):
    names = [f"folder{i}/file{j}" for i in range(3) for j in range(40)]
    make_tree(tmp_path / "a", names)
    time.sleep(0.02)
    make_tree(tmp_path / "b", reversed(names))
    os.utime(tmp_path / "b/folder0/file0", (2_000_000_000, 2_000_000_000))
    first = rootfs.pack(tmp_path / "a", tmp_path / "a.tar", 1_000_000_000)
    assert rootfs.pack(tmp_path / "b", tmp_path / "b.tar", 1_000_000_000) == first
    (tmp_path / "b/folder0/file0").write_text("other")
    assert rootfs.pack(tmp_path / "b", tmp_path / "b.tar", 1_000_000_000) != first


def test_clean_takes_the_machine_out(tmp_path):
    root = tmp_path / "root"
    left = ["etc/resolv.conf", "etc/hostname", "etc/passwd-", "etc/apt/sources.list", "var/log/dpkg.log",
            "etc/apt/apt.conf.d/99mmdebstrap", "var/cache/ldconfig/aux-cache", "run/x", "tmp/x", "dev/null"]
    for name in [*left, "etc/passwd", "var/log/apt/keep/term.log"]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("x")
    rootfs.clean(root)
    assert [name for name in left if (root / name).exists()] == []
    assert (root / "etc/passwd").exists() and (root / "etc/machine-id").read_text() == ""
    assert {name: (root / name).stat().st_mode & 0o7777 for name in rootfs.FOLDERS} == rootfs.FOLDERS


def test_record_names_only_what_is_there(tmp_path):
    info = tmp_path / "p-1.dist-info"
    info.mkdir()
    (tmp_path / "p.py").write_text("")
    (info / "RECORD").write_text("../../bin/p,sha256=abc,9\np.py,sha256=def,0\np-1.dist-info/RECORD,,\n")
    python.prune_record(tmp_path, info.name)
    assert (info / "RECORD").read_text() == "p.py,sha256=def,0\np-1.dist-info/RECORD,,\n"


def test_reason_prefers_the_first_error():
    assert reason("I: a\nE: first\nW: b\nE: second\n") == "E: first"
    assert reason("one\ntwo\n\n") == "two"
    assert reason("") == ""


def test_failure_is_one_line_and_a_status(recipes, tmp_path):
    (recipes / "python-data/recipe.toml").write_text("epoch = 1")
    done = subprocess.run([recipes / "python-data/build", tmp_path / "out"], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("images: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
