"""The PyPI part of a root: wheels pinned by version and hash, unpacked and compiled.

pip of a private environment does the work, so the image needs none. Wheels are chosen for the
image's Python and architecture, not for this machine's.
"""

import csv
import os
import platform
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor

from .failure import Failure, run

GLIBC = ("manylinux_2_28", "manylinux_2_27", "manylinux_2_24", "manylinux_2_17", "manylinux2014")
# Of no use in an image: launchers and data for a Python installation, the packages' own tests.
REMOVE = ("bin", "etc", "include", "share", "**/tests")


def wheel_flags(version, machine=None):
    machine = machine or platform.machine()
    return ["--only-binary=:all:", "--ignore-requires-python", "--python-version", version,
            "--implementation", "cp", *(f"--platform={glibc}_{machine}" for glibc in GLIBC)]


def make_pip(folder):
    """A pip of our own in folder; returns the command that runs it."""
    run("make a Python environment", [sys.executable, "-m", "venv", folder])
    return [folder / "bin/python", "-m", "pip", "--disable-pip-version-check"]


def fetch(recipe, work):
    """Download the recipe's wheels into work/wheels, each checked against its hash."""
    pip = make_pip(work / "venv")
    run("fetch Python packages", [*pip, "download", "--quiet", "--require-hashes", "--no-deps",
                                  *wheel_flags(recipe.python_version), "-r", recipe.requirements,
                                  "-d", work / "wheels"])
    return pip


def install(recipe, root, work, pip):
    """Unpack the wheels into root; returns the new entries of its site folder, sorted."""
    site = root / recipe.site
    before = set(os.listdir(site)) if site.is_dir() else set()
    run("install Python packages", [*pip, "install", "--quiet", "--root-user-action=ignore", "--no-compile",
                                    "--no-index", "--find-links", work / "wheels", "--no-deps", "--require-hashes",
                                    *wheel_flags(recipe.python_version), "--target", site,
                                    "-r", recipe.requirements])
    for line in recipe.python.get("place", []):  # files of a wheel that belong elsewhere
        source, target = line.split()
        (root / target).parent.mkdir(parents=True, exist_ok=True)
        shutil.move(site / source, root / target)
    for pattern in (*REMOVE, *recipe.python.get("remove", [])):
        for path in sorted(site.glob(pattern)):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    added = sorted(set(os.listdir(site)) - before)
    for name in added:
        prune_record(site, name)
    return added


def prune_record(site, name):
    """Let a package's list of files name only what is there.

    What goes includes launchers, whose checksum is that of a path in this build's work folder.
    """
    record = site / name / "RECORD"
    if record.is_file():
        lines = record.read_text(encoding="utf-8").splitlines(keepends=True)
        rows = zip(lines, csv.reader(lines))
        record.write_text("".join(line for line, row in rows if (site / row[0]).exists()), encoding="utf-8")


def in_root(root, *words, env=()):
    """A command that runs a program of the image; equal hash seeds keep its output the same."""
    return ["env", "-i", "PYTHONHASHSEED=0", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8", *env, "chroot", root, *words]


def byte_compile(root, folders):
    """Compile folders (absolute inside the root), one process each, as many at once as there are CPUs.

    Bytecode records its source's hash and trusts it: a time stamp would be wrong after the times
    are set back, and Python would compile every module again at every start. One process for each
    folder because the marshalled form depends on what its process compiled before.
    """
    def one(folder):
        return run("compile Python modules", in_root(
            root, "python3", "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash", folder))

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as pool:
        list(pool.map(one, folders))


def customize(recipe, root):
    """Run the recipe's own program inside the root, with the image's environment and a /proc."""
    program = recipe.folder / recipe.customize
    if not program.is_file():
        raise Failure(f"customize: '{program}' does not exist")
    inside = in_root(root, "python3", "-B", "-", env=recipe.config["Env"])
    run(f"customize ({recipe.customize})", [
        "unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c",
        'mount -t proc proc "$0/proc" && exec "$@"', root, *inside], stdin=program.read_text(encoding="utf-8"))
