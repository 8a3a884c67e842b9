"""A19: an image that plants a name service library gets nothing loaded into PID 1."""

import re
import shutil
import subprocess

import pytest

from harness.execd import EXECD

PLANTED = """
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
    (void)!write(2, "PLANTED LIBRARY LOADED\\n", 23);
}
"""
LIBRARIES = ["libnss_evil.so.2", "libnss_files.so.2", "libnss_compat.so.2", "libnss_dns.so.2"]
FOLDERS = ["lib", "lib64", "lib/x86_64-linux-gnu", "lib/aarch64-linux-gnu", "usr/lib", "usr/lib/x86_64-linux-gnu"]


@pytest.fixture
def hostile_root(tmp_path):
    root = tmp_path / "root"
    (root / "etc").mkdir(parents=True)
    source = tmp_path / "evil.c"
    source.write_text(PLANTED)
    library = tmp_path / "evil.so"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    for folder in FOLDERS:
        (root / folder).mkdir(parents=True, exist_ok=True)
        for name in LIBRARIES:
            shutil.copy(library, root / folder / name)
    shutil.copy(library, root / "evil.so")
    (root / "etc/nsswitch.conf").write_text("".join(f"{name}: evil files dns\n" for name in
                                                    ("passwd", "group", "shadow", "hosts", "services", "initgroups")))
    (root / "etc/ld.so.preload").write_text("/evil.so\n")
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nsomebody:x:4711:4712::/home:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\nteam:x:4712:somebody\n")
    (root / "file").write_text("x")
    shutil.chown(root / "file", 4711, 4712)
    shutil.copy(EXECD, root / "execd")
    return root


def test_A19_no_library_is_opened(pid1, strace, hostile_root, tmp_path):
    trace = tmp_path / "trace"
    agent = pid1("--listen", "unix:/socket", "--inner-listen", "127.0.0.1:0", "--log-level", "debug", listen=False,
                 namespace=("--",), binary="/execd",
                 launcher=[strace, "-f", "-o", str(trace), "-e", "trace=open,openat,openat2,execve", "chroot", str(hostile_root)])
    agent.socket = hostile_root / "socket"
    client = agent.client
    info = client.get("/files/info", params={"path": "/file"}).json()["/file"]
    assert (info["owner"], info["group"]) == ("somebody", "team")
    form = {"metadata": ("metadata", '{"path": "/made", "owner": "somebody", "group": "team"}', "application/json"),
            "file": ("file", b"data", "application/octet-stream")}
    assert client.post("/files/upload", files=form).status_code == 200
    assert client.get("/files/info", params={"path": "/made"}).json()["/made"]["owner"] == "somebody"
    # A proxied request to nowhere: the address is numeric, so no resolver either.
    client.get("/proxy/1/")
    agent.close_clients()
    agent.process.kill()
    agent.wait()
    text = trace.read_text()
    own = text[text.index('execve("/execd"'):]
    opened = re.findall(r'open(?:at2?)?\(.*?"([^"]*)"', own)
    assert "/etc/passwd" in opened, "the trace has seen the lookup"
    assert not [path for path in opened if ".so" in path or "nsswitch" in path or "gconv" in path or "locale" in path]
    assert not [line for line in agent.lines if "PLANTED" in line]
