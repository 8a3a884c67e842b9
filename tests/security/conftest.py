"""Fixtures of the native runtime: one server per module, images made of busybox and a probe."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness.native_server import BUILD, Server

HERE = Path(__file__).resolve().parent
BUSYBOX = Path("/bin/busybox")


def make_root(root):
    """A minimal root file system: busybox with its names, the probe, users."""
    for name in ("bin", "etc", "proc", "sys", "dev", "tmp", "root", "var", "opt", "run"):
        (root / name).mkdir(parents=True)
    (root / "tmp").chmod(0o1777)
    shutil.copy2(BUSYBOX, root / "bin/busybox")
    shutil.copy2(probe(), root / "bin/probe")
    applets = subprocess.run([BUSYBOX, "--list"], capture_output=True, text=True, check=True).stdout.split()
    for applet in applets:
        if applet != "busybox":
            (root / "bin" / applet).symlink_to("busybox")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nuser:x:1000:\n")
    return root


def pack(folder, **config):
    """folder/root becomes folder/rootfs.tar with its config.json."""
    subprocess.run(["tar", "-C", folder / "root", "--numeric-owner", "-cf", folder / "rootfs.tar", "."], check=True)
    (folder / "config.json").write_text(json.dumps({"Cmd": ["sleep", "infinity"], **config}))
    return folder


def probe():
    source, program = HERE / "probe.c", BUILD / "security/probe"
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        program.parent.mkdir(parents=True, exist_ok=True)
        subprocess.run(["gcc", "-O1", "-Wall", "-static", "-o", program, source], check=True)
    return program


@pytest.fixture(scope="session", autouse=True)
def needs():
    if os.geteuid() != 0:
        pytest.skip("the native runtime needs root")
    if not BUSYBOX.exists():
        pytest.skip("busybox-static is not installed")


@pytest.fixture(scope="session")
def busybox(tmp_path_factory):
    """The folder of an image, ready for import."""
    folder = tmp_path_factory.mktemp("busybox")
    make_root(folder / "root")
    return pack(folder)


@pytest.fixture(scope="module")
def server(tmp_path_factory, busybox):
    with Server(tmp_path_factory.mktemp("server")) as running:
        running.add_image("busybox", busybox)
        yield running
        running.remove_all()
        assert running.leftovers() == []


@pytest.fixture(scope="module")
def box(server):
    """One sandbox for tests that leave it as it is."""
    return server.create("busybox")


@pytest.fixture
def make_image(server, tmp_path):
    """make_image(name, change): busybox with change(root) done to its tree."""

    def make(name, change=lambda root: None, **config):
        folder = tmp_path / name
        make_root(folder / "root")
        (folder / "root/etc/image").write_text(name)  # images are known by their trees: no two alike
        change(folder / "root")
        server.add_image(name, pack(folder, **config))
        return name

    return make
