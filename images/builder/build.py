"""One image from its recipe to the files in OUTDIR, and whether they are up to date."""

import json
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import debian, golang, node, python, rootfs
from .failure import Failure, stop_all
from .progress import Progress
from .recipe import IMAGES


def is_current(recipe, out):
    """recipe-hash is written last: with the right hash in it, the whole folder is as it should be."""
    try:
        return (out / "recipe-hash").read_text().strip() == recipe.hash()
    except FileNotFoundError:
        return False


def check_machine():
    if os.geteuid() != 0:
        raise Failure("needs root: an image has files of several owners")
    for program in ("mmdebstrap", "tar", "dpkg-query", "chroot"):
        if not shutil.which(program, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin"):
            raise Failure(f"'{program}' is not installed")


def build(recipe, out, cache=None):
    """Leave rootfs.tar, config.json, manifest.txt, digest and recipe-hash in out.

    cache is a folder of built images where the base may be found; a base that is not there (or out
    of date) is built for this run only.
    """
    check_machine()
    os.umask(0o022)
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    for left_over in out.glob(".work.*"):  # of a build that was killed
        shutil.rmtree(left_over)
    with tempfile.TemporaryDirectory(prefix=".work.", dir=out) as folder, Progress(recipe.name) as progress:
        work = Path(folder).resolve()
        digest = assemble(recipe, work, cache or IMAGES.parent / "build/images", progress)
        publish(recipe, work, out)
        megabytes = (out / "rootfs.tar").stat().st_size / 1e6
        progress.done(f"done: {megabytes:.0f} MB, {digest[:19]}")


def assemble(recipe, work, cache, progress):
    root = work / "root"
    wanted = bool(recipe.python.get("wanted"))
    with ThreadPoolExecutor(max_workers=3) as pool:  # the packages arrive while Debian is unpacked
        wheels = pool.submit(python.fetch, recipe, work) if wanted else None
        modules = pool.submit(node.fetch, recipe, work) if recipe.node else None
        program = pool.submit(golang.compile_program, recipe, work) if recipe.go else None
        try:
            lay_ground(recipe, root, work, cache, progress)
            rootfs.overlay(recipe.folder / "root", root)
            if wheels:
                progress.phase("fetching Python packages")
                add_python(recipe, root, work, wheels.result(), progress)
            if modules:
                progress.phase("fetching npm packages")
                node.install(recipe, root, modules.result())
            if program:
                progress.phase("compiling the Go program")
                golang.install(recipe, root, program.result())
        except BaseException:
            stop_all()  # or the end would wait for what nobody needs any more
            raise
    if recipe.customize:
        progress.phase(f"customizing ({recipe.customize})")
        python.customize(recipe, root)
    progress.phase("packing")
    rootfs.clean(root)
    (work / "manifest.txt").write_text(rootfs.manifest(root, root / recipe.site) + "".join(
        f"{line}\n" for line in node.manifest(recipe)))
    (work / "config.json").write_text(json.dumps(recipe.config, indent=2) + "\n")
    digest = rootfs.pack(root, work / "rootfs.tar", recipe.epoch)
    (work / "digest").write_text(digest + "\n")
    return digest


def lay_ground(recipe, root, work, cache, progress):
    if not recipe.base:
        progress.phase(f"installing Debian {recipe.debian['suite']}, fetching Python packages")
        debian.bootstrap(recipe, root, work)
        return
    base = cache / recipe.base.name
    if not is_current(recipe.base, base):
        base = work / "base"
        build(recipe.base, base, cache)
    progress.phase(f"unpacking {recipe.base.name}")
    rootfs.unpack(base / "rootfs.tar", root)


def add_python(recipe, root, work, pip, progress):
    progress.phase("installing Python packages")
    added = python.install(recipe, root, work, pip)
    progress.phase("compiling Python modules")
    library = f"/usr/lib/python{recipe.python_version}"
    folders = [] if recipe.base else [library]
    folders += [f"/{recipe.site}/{name}" for name in added if (root / recipe.site / name / "__init__.py").exists()
                or name.endswith(".py") or is_package_parent(root / recipe.site / name)]
    python.byte_compile(root, folders)


def is_package_parent(path):
    return path.is_dir() and not path.name.endswith((".dist-info", ".libs"))


def publish(recipe, work, out):
    """Replace what out held; until recipe-hash is there again it counts as not built."""
    (out / "recipe-hash").unlink(missing_ok=True)
    for name in ("rootfs.tar", "config.json", "manifest.txt", "digest"):
        os.replace(work / name, out / name)
    (work / "recipe-hash").write_text(recipe.hash() + "\n")
    os.replace(work / "recipe-hash", out / "recipe-hash")
