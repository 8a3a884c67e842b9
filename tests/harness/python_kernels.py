"""An execd with IPython kernels of the test's own interpreter, and the few calls that tests of contexts are made of."""

import json
import sys

from harness.execd import output_of, sse_events


def start_with_python(start_execd, folder, *options):
    """`extra` of what is returned is a folder of modules that only these kernels see."""
    spec, extra = folder / "share/kernels/python3/kernel.json", folder / "extra"
    spec.parent.mkdir(parents=True, exist_ok=True)
    extra.mkdir(exist_ok=True)
    spec.write_text(json.dumps({
        "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"], "language": "python",
        "display_name": "Python", "env": {"PYTHONPATH": str(extra)}}))
    execd = start_execd("--kernel-dir", str(folder / "run"), *options, env={"JUPYTER_PATH": str(folder / "share")})
    execd.extra = extra
    return execd


def create(execd, **body):
    response = execd.client.post("/code/context", json={"language": "python", **body}, timeout=60)
    assert response.status_code == 200, response.text
    return response.json()


def run(execd, context, code):
    response = execd.client.post("/code", json={"code": code, "context": {"id": context["id"], "language": "python"}}, timeout=60)
    return [e for e in sse_events(response.text) if e["type"] != "ping"]


def printed(execd, context, code):
    events = run(execd, context, code)
    assert events[-1]["type"] == "execution_complete", events
    return output_of(events)
