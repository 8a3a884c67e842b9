"""What is common to every root: mount points, nothing of this machine, one byte-exact archive."""

import hashlib
import importlib.metadata
import shutil
import subprocess
from pathlib import Path

from .failure import Failure, run

# Folders a sandbox mounts over or works in, with their modes.
FOLDERS = {"proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "tmp": 0o1777, "var/tmp": 0o1777,
           "opt/opensandbox": 0o755, "workspace": 0o755}
# Emptied: what building left in them belongs to this machine or to the moment.
EMPTIED = ("dev", "proc", "sys", "run", "tmp", "var/tmp", "var/lib/apt", "var/cache/apt")
# Removed: machine identity, package sources, logs and caches that differ from build to build.
REMOVED = ("etc/resolv.conf", "etc/hostname", "etc/.pwd.lock", "etc/*-", "etc/apt/sources.list",
           "etc/apt/sources.list.d/*", "etc/apt/apt.conf.d/*mmdebstrap", "etc/apt/auth.conf*",
           "var/cache/ldconfig/aux-cache", "var/cache/debconf/*-old", "var/lib/dpkg/*-old",
           "var/lib/dpkg/lock*", "usr/share/man/man1", "usr/share/python3/debpython/__pycache__", "root/.cache", "root/.config", "root/.pip")


def remove(path):
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink()


def unpack(tar, root):
    root.mkdir()
    run(f"unpack {tar}", ["tar", "-xpf", tar, "--numeric-owner", "-C", root])


def overlay(folder, root):
    """Copy the recipe's own files (its root/ folder) over the root, readable by everyone."""
    for source in sorted(folder.rglob("*")) if folder.is_dir() else []:
        target = root / source.relative_to(folder)
        if source.is_dir():
            target.mkdir(mode=0o755, exist_ok=True)
        else:
            shutil.copyfile(source, target)
            target.chmod(0o755 if source.stat().st_mode & 0o100 else 0o644)


def clean(root):
    """Take out what belongs to this machine, put in what every sandbox needs."""
    for folder in EMPTIED:
        for entry in list((root / folder).iterdir()) if (root / folder).is_dir() else []:
            remove(entry)
    for pattern in REMOVED:
        for path in sorted(root.glob(pattern)):
            remove(path)
    for log in sorted((root / "var/log").rglob("*")):
        if log.is_file():
            log.unlink()
    (root / "etc/machine-id").write_text("")
    for folder, mode in FOLDERS.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        (root / folder).chmod(mode)
    root.chmod(0o755)


def manifest(root, site):
    """One line per package: kind, name, version."""
    debian = run("list Debian packages", ["dpkg-query", f"--admindir={root / 'var/lib/dpkg'}", "-W",
                                          "-f", "deb ${binary:Package} ${Version}\n"]).splitlines()
    found = importlib.metadata.distributions(path=[str(site)]) if site.is_dir() else []
    pypi = [f"pypi {package.metadata['Name']} {package.version}" for package in found]
    return "\n".join(sorted(debian) + sorted(pypi, key=str.lower)) + "\n"


def pack(root, tar, epoch):
    """Archive root as tar; returns "sha256:<hex>". Order, times, ids and headers are all fixed."""
    command = ["tar", "--sort=name", "--numeric-owner", f"--mtime=@{epoch}", "--clamp-mtime", "--format=pax",
               "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
               "--xattrs", "--xattrs-include=security.capability", "-C", str(root), "-cf", "-", "."]
    digest = hashlib.sha256()
    with open(tar, "wb") as file, subprocess.Popen(command, stdout=subprocess.PIPE) as packer:
        while block := packer.stdout.read(1 << 20):
            digest.update(block)
            file.write(block)
    if packer.returncode:
        raise Failure(f"pack {Path(tar).name}: tar ended with status {packer.returncode}")
    return f"sha256:{digest.hexdigest()}"
