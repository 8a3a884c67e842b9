"""The oldest and the newest ipykernel that people have: Debian's with the machine's Python, and the package index's."""

import sys
from pathlib import Path

import pytest

from harness.execd import BUILD, eventually, output_of
from harness.kernels import error_of, in_background, results, run, write_spec
from harness.patience import PATIENCE_S

DEBIAN = BUILD.resolve() / "deps/ipykernel/usr/lib"
KERNELS = {
    "debian": ("/usr/bin/python3", {"PYTHONPATH": f"{DEBIAN}/python3/dist-packages",
                                    "LD_LIBRARY_PATH": str(next(DEBIAN.glob("*-linux-gnu"), DEBIAN))}, "6."),
    "newest": (sys.executable, {}, "7."),
}


@pytest.fixture(params=[(name, transport) for name in KERNELS for transport in ("ipc", "tcp")], ids="-".join)
def kernel(request, start_execd, tmp_path):
    name, transport = request.param
    python, env, version = KERNELS[name]
    if name == "debian" and not DEBIAN.is_dir():
        pytest.skip("`make setup` fetches Debian's ipykernel")
    write_spec(tmp_path / "share", "python3", [python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "python",
               env=env, metadata={"execd": {"transports": [transport]}})
    agent = start_execd("--kernel-dir", str(tmp_path / "run"), "--kernel-pool", "0",
                        env={"JUPYTER_PATH": str(tmp_path / "share")})
    agent.version = version
    yield agent
    agent.stop()


def test_a_session_with_each(kernel):
    assert results(run(kernel, "import ipykernel; ipykernel.__version__"))[0]["text"].startswith(f"'{kernel.version}")
    events = run(kernel, "import os; print('hi ü'); _ = os.system('echo out; echo err >&2'); x = 40")
    assert sorted(output_of(events).splitlines()) == ["hi ü", "out"] and output_of(events, "stderr") == "err\n"
    assert error_of(run(kernel, "1 / 0"))["ename"] == "ZeroDivisionError"
    begun = kernel.folder / f"begun-{kernel.version}"
    future = in_background(run, kernel, f"import time\nopen({str(begun)!r}, 'w').close()\nwhile True: time.sleep(0.01)")
    context = eventually(lambda: [row["id"] for row in kernel.client.get("/code/contexts").json() if row["state"] == "busy"])[0]
    eventually(begun.exists)  # many at once, or one before the code runs, cost some ipykernels the reply
    assert kernel.client.delete("/code", params={"id": context}).status_code == 200
    assert error_of(future.result(PATIENCE_S))["ename"] == "KeyboardInterrupt"
    assert results(run(kernel, "x + 2"))[0]["text"] == "42"
    assert error_of(run(kernel, "os._exit(3)"))["evalue"].endswith("exit status 3")
