"""An execd inside the multi-language image, without a server: a private mount table and a changed root, nothing else.

The image is unpacked once below the build folder and used by every later run of the tests, as long as it is the same.
"""

import os
import shutil
import subprocess
from pathlib import Path

from harness.execd import BUILD, EXECD, Execd

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGES = Path(os.environ.get("IMAGES") or BUILD / "images").resolve()
NAME = "code-interpreter"
INSIDE = "/opt/opensandbox/execd"

# The folder of the test is where it was, so that its socket has one path inside and outside.
ENTER = """
set -e
root=$1 folder=$2 execd=$3
shift 3
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/opt/opensandbox"
mount -t tmpfs tmpfs "$root/tmp"
mount --rbind /dev "$root/dev"
touch "$root/opt/opensandbox/execd"
mount --bind "$execd" "$root/opt/opensandbox/execd"
mkdir -p "$root$folder"
mount --bind "$folder" "$root$folder"
PATH=/usr/local/bin:/usr/bin:/bin exec /usr/sbin/chroot "$root" "$@"
"""


def unpacked():
    """The image's root; unpacked when it is missing or another one."""
    subprocess.run([ROOT / "images/build-all", IMAGES], check=True, stderr=subprocess.DEVNULL)
    digest = (IMAGES / NAME / "digest").read_text()
    root, stamp = BUILD.resolve() / "languages/root", BUILD.resolve() / "languages/digest"
    if not stamp.exists() or stamp.read_text() != digest:
        shutil.rmtree(root.parent, ignore_errors=True)
        root.mkdir(parents=True)
        subprocess.run(["tar", "-xpf", IMAGES / NAME / "rootfs.tar", "--numeric-owner", "-C", root], check=True)
        stamp.write_text(digest)
    return root


def start(root, folder, *options, env=None):
    """execd as a program of the image; `folder` keeps its socket and its kernels' files."""
    launcher = ["unshare", "--mount", "--propagation", "private", "sh", "-c", ENTER, "enter", str(root), str(folder),
                str(EXECD.resolve())]
    return Execd(folder, "--kernel-dir", f"{folder}/run", *options, launcher=launcher, binary=INSIDE, cwd="/",
                 env={"HOME": str(folder), **(env or {})})
