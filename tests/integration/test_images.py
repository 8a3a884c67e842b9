"""What `make images` built: identity, nothing of this machine in it, and kernels that run in it.

Takes the images from $IMAGES, else from build/images; what is missing or out of date is built there.
"""

import hashlib
import json
import os
import queue
import re
import shutil
import signal
import subprocess
import tarfile
import tempfile
import time
from pathlib import Path

import pytest
from jupyter_client import BlockingKernelClient

from harness.execd import BUILD, eventually

ROOT = Path(__file__).resolve().parent.parent.parent
IMAGES = Path(os.environ.get("IMAGES") or BUILD / "images").resolve()
NAMES = sorted(path.parent.name for path in (ROOT / "images").glob("*/recipe.toml"))
SPEC = "usr/local/share/jupyter/kernels/python3/kernel.json"
SITE = "usr/local/lib/python3.13/dist-packages"
NOBODY = "65534:65534"
PLOT = "import matplotlib.pyplot as plt; plt.plot([1, 4, 9]); plt.show()"

pytestmark = [pytest.mark.timeout(600), pytest.mark.root]

# Enters a root as a sandbox does: /proc, and the devices a program expects; ends with its caller.
ENTER = """
set -e
mount -t proc proc "$1/proc"
mount -t tmpfs tmpfs "$1/dev"
for device in null zero random urandom; do
    : >"$1/dev/$device"
    mount --bind "/dev/$device" "$1/dev/$device"
done
root=$1 user=$2
shift 2
exec chroot --userspec="$user" "$root" "$@"
"""


class Image:
    """One built image, and its root unpacked at a path short enough for sockets below it."""

    def __init__(self, name):
        self.name, self.folder = name, IMAGES / name
        self.tar = self.folder / "rootfs.tar"
        self.config = json.loads((self.folder / "config.json").read_text())
        self.root = Path(tempfile.mkdtemp(prefix="image-", dir="/tmp"))
        subprocess.run(["tar", "-xpf", self.tar, "--numeric-owner", "-C", self.root], check=True)

    def command(self, *words, user="0:0", env=()):
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "env", "-i", *self.config["Env"], *env,
                "sh", "-c", ENTER, "enter", str(self.root), user, *words]

    def run(self, *words, **options):
        return subprocess.run(self.command(*words, **options), capture_output=True, text=True, check=False)


@pytest.fixture(scope="session")
def built():
    if os.geteuid() != 0:
        pytest.skip("images are built and entered by root")
    subprocess.run([ROOT / "images/build-all", IMAGES], check=True)


@pytest.fixture(scope="module")
def unpacked(built):
    """unpacked(name): the image, unpacked once for all tests here. Its removal takes a while: it is within their limit."""
    images = {}

    def get(name):
        if name not in images:
            images[name] = Image(name)
        return images[name]

    yield get
    for image in images.values():
        shutil.rmtree(image.root)


@pytest.fixture(params=NAMES)
def image(request, unpacked):
    return unpacked(request.param)


@pytest.fixture
def data(unpacked):
    return unpacked("python-data")


class Kernel:
    """A cold ipykernel inside an image over ipc, driven by jupyter_client from outside."""

    def __init__(self, image, user="0:0"):
        spec = json.loads((image.root / SPEC).read_text())
        self.folder = Path(tempfile.mkdtemp(prefix="k", dir=image.root / "tmp"))
        self.folder.chmod(0o777)
        inside = Path("/tmp") / self.folder.name
        ports = {f"{name}_port": i for i, name in enumerate(("shell", "iopub", "stdin", "control", "hb"), 1)}
        connection = {"transport": "ipc", "ip": str(inside / "s"), "key": "k" * 32,
                      "signature_scheme": "hmac-sha256", **ports}
        (self.folder / "c.json").write_text(json.dumps(connection))
        argv = [word.replace("{connection_file}", str(inside / "c.json")) for word in spec["argv"]]
        env = [f"{name}={value}" for name, value in spec["env"].items()] + ["JPY_PARENT_PID=1"]
        self.process = subprocess.Popen(image.command(*argv, user=user, env=env), stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.client = BlockingKernelClient()
        self.client.load_connection_info({**connection, "ip": str(self.folder / "s"), "key": b"k" * 32})

    def __enter__(self):
        self.client.start_channels(hb=False)
        try:
            eventually(self.answers, 60, "the kernel does not answer")
        except BaseException:
            self.__exit__()
            raise
        return self

    def answers(self):
        """Both sockets have spoken: a request sent before the kernel listens may get no status."""
        self.client.kernel_info()
        try:
            self.client.get_shell_msg(timeout=1)
            self.client.get_iopub_msg(timeout=1)
            return True
        except queue.Empty:
            assert self.process.poll() is None, self.process.stdout.read()
            return False

    def __exit__(self, *_):
        self.client.stop_channels()
        # The first process of the namespace takes the others with it; a change of user made it
        # forget that it was to die with its parent.
        for pid in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            os.kill(int(pid), signal.SIGKILL)
        self.output = self.process.communicate(timeout=20)[0]
        shutil.rmtree(self.folder)

    def execute(self, code):
        """(status, [(message type, MIME bundle or text)]) of one cell."""
        outputs = []

        def collect(message):
            content = message["content"]
            if message["msg_type"] in ("execute_result", "display_data", "stream", "error"):
                outputs.append((message["msg_type"], content.get("data") or content.get("text") or content))

        reply = self.client.execute_interactive(code, output_hook=collect, timeout=60, allow_stdin=False)
        return reply["content"]["status"], outputs


def test_digest_is_that_of_the_archive(image):
    with open(image.tar, "rb") as file:
        actual = hashlib.file_digest(file, "sha256").hexdigest()
    assert (image.folder / "digest").read_text() == f"sha256:{actual}\n"


def test_recipe_hash_is_current_and_a_second_build_does_nothing(image):
    before = image.tar.stat()
    done = subprocess.run([ROOT / "images/build-all", IMAGES], capture_output=True, text=True, check=True)
    assert f"image {image.name}: up to date" in done.stderr
    printed = subprocess.run([ROOT / "images" / image.name / "build", "--hash"], capture_output=True, text=True)
    assert (image.folder / "recipe-hash").read_text() == printed.stdout
    assert (image.tar.stat().st_ino, image.tar.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_archive_is_in_order_and_not_newer_than_the_epoch(image):
    epoch = int(re.search(r"^epoch = (\d+)", (ROOT / "images" / image.name / "recipe.toml").read_text(), re.M)[1])
    with tarfile.open(image.tar) as archive:
        members = archive.getmembers()
    names = [member.name.split("/") for member in members]
    assert names == sorted(names)
    assert max(member.mtime for member in members) <= epoch
    assert {(member.uname, member.gname) for member in members} == {("", "")}
    assert [member.name for member in members if member.isdev()] == []


def test_config_is_an_image_configuration(image):
    config = image.config
    assert set(config) == {"Env", "Entrypoint", "Cmd", "WorkingDir", "User"}
    assert all(re.match(r"[A-Z_]+=.", pair) for pair in config["Env"])
    assert config["Entrypoint"] is None and config["Cmd"] == ["tail", "-f", "/dev/null"]
    assert (image.root / config["WorkingDir"].lstrip("/")).is_dir()


def test_manifest_names_every_pinned_package(image):
    kinds = [line.split() for line in (image.folder / "manifest.txt").read_text().splitlines()]
    assert all(len(fields) == 3 and fields[0] in ("deb", "npm", "pypi") for fields in kinds)
    have = {(re.sub(r"[-_.]+", "-", name).lower(), version) for kind, name, version in kinds if kind == "pypi"}
    text = (ROOT / "images" / image.name / "requirements.txt").read_text()
    wanted = set(re.findall(r"^([\w.-]+)==(\S+)", text, re.M))
    assert wanted and wanted <= have
    assert {"bash", "coreutils", "python3", "procps"} <= {name.split(":")[0] for kind, name, _ in kinds if kind == "deb"}


def test_mount_points_and_their_modes(image):
    modes = {name: (image.root / name).stat().st_mode & 0o7777 for name in
             ("proc", "sys", "dev", "run", "tmp", "var/tmp", "opt/opensandbox", "workspace", ".")}
    assert modes == {"proc": 0o555, "sys": 0o555, "dev": 0o755, "run": 0o755, "tmp": 0o1777, "var/tmp": 0o1777,
                     "opt/opensandbox": 0o755, "workspace": 0o755, ".": 0o755}
    for name in ("dev", "proc", "sys", "run", "tmp", "opt/opensandbox"):
        assert list((image.root / name).iterdir()) == []


def test_nothing_of_this_machine_is_inside(image):
    for name in ("etc/resolv.conf", "etc/hostname", "etc/apt/sources.list", "root/.cache", "etc/pip.conf",
                 "root/.config", "usr/share/python3/debpython/__pycache__", "var/lib/apt/lists", "usr/share/man/man1", "usr/share/locale/de"):
        assert not os.path.lexists(image.root / name), name
    assert (image.root / "etc/machine-id").read_text() == ""
    assert (image.root / "etc/hosts").read_text().startswith("127.0.0.1 localhost\n")
    assert (image.root / "etc/passwd").read_text().startswith("root:*:0:0:root:/root:/bin/bash\n")
    assert [path for path in (image.root / "var/log").rglob("*") if path.is_file()] == []
    assert list(image.root.rglob("direct_url.json")) == []
    assert [p for folder in ("etc", "var") for p in (image.root / folder).rglob("*mmdebstrap*") if "apt" in p.parts] == []


def test_nothing_names_the_folder_it_was_built_in(image):
    found = subprocess.run(["grep", "-rlF", "-e", "/.work.", "-e", str(ROOT), image.root / "usr/local",
                            image.root / "etc", image.root / "var", image.root / "root"], capture_output=True, text=True)
    assert (found.returncode, found.stdout) == (1, "")


def test_every_module_is_compiled_and_trusted(image):
    sources = [p for top in (SITE, "usr/lib/python3.13") for p in (image.root / top).rglob("*.py")]
    compiled = [p.parent / "__pycache__" / f"{p.stem}.cpython-313.pyc" for p in sources]
    assert len(sources) > 1000
    assert [str(p) for p in compiled if not p.exists()] == []
    flags = {int.from_bytes(p.read_bytes()[4:8], "little") for p in compiled}
    assert flags == {1}  # by hash, not checked: PEP 552


def test_kernelspec_has_absolute_argv(image):
    spec = json.loads((image.root / SPEC).read_text())
    assert spec["argv"][0].startswith("/") and os.access(f"{image.root}{spec['argv'][0]}", os.X_OK)
    assert "{connection_file}" in spec["argv"] and spec["language"] == "python"
    assert spec["interrupt_mode"] == "signal"
    assert spec["env"]["MPLBACKEND"] == "module://matplotlib_inline.backend_inline"
    assert (image.root / SPEC).stat().st_mode & 0o777 == 0o644


def test_shell_and_tools_run(image):
    done = image.run("bash", "-c", "python --version && ps -e && id -un && cat /etc/debian_version")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Python 3.13.") and "root\n13." in done.stdout


@pytest.mark.parametrize("user", ["0:0", NOBODY])
def test_cold_kernel_computes_over_ipc(image, user):
    with Kernel(image, user) as kernel:
        assert kernel.execute("x = 1 + 1; x") == ("ok", [("execute_result", {"text/plain": "2"})])
        assert kernel.execute("print(x)") == ("ok", [("stream", "2\n")])
        assert kernel.execute("1/0")[0] == "error"
        assert kernel.execute("import sys; 'debugpy' in sys.modules")[1] == [
            ("execute_result", {"text/plain": "False"})]
    assert "Traceback" not in kernel.output


@pytest.mark.parametrize("user", ["0:0", NOBODY])
def test_plot_is_a_png_and_the_font_cache_is_used(data, user):
    folder = data.root / "var/cache/matplotlib"
    (cache,) = folder.iterdir()
    before = cache.stat()
    assert json.loads(cache.read_text())["ttflist"]
    with Kernel(data, user) as kernel:
        status, outputs = kernel.execute(PLOT)
        assert status == "ok", outputs
        assert [kind for kind, _ in outputs] == ["display_data"]
        assert set(outputs[0][1]) == {"image/png", "text/plain"}
        status, outputs = kernel.execute("import pandas as pd; pd.DataFrame({'a': [1]})")
        assert (status, set(outputs[0][1])) == ("ok", {"text/plain", "text/html"})
    after = cache.stat()
    assert list(folder.iterdir()) == [cache]
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


@pytest.mark.parametrize("module", ["numpy.testing", "pandas.testing", "PIL.ImageFont", "fontTools.ttLib"])
def test_trimming_broke_no_import(data, module):
    done = data.run("python3", "-c", f"import {module}")
    assert (done.returncode, done.stderr) == (0, "")


def test_stopped_build_leaves_nothing(built, tmp_path):
    mounts = Path("/proc/self/mounts").read_text()
    process = subprocess.Popen([ROOT / "images" / NAMES[0] / "build", tmp_path], stderr=subprocess.PIPE, text=True)
    eventually(lambda: list(tmp_path.glob(".work.*/root/*")), 60, "nothing was unpacked")
    time.sleep(0.5)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and errors.endswith("images: stopped by SIGTERM\n")
    assert list(tmp_path.iterdir()) == []
    assert Path("/proc/self/mounts").read_text() == mounts
    processes = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert str(tmp_path) not in processes
