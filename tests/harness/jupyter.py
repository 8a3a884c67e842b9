"""A real execd as a Jupyter gateway, with the test environment's ipykernel as its Python."""

import json
import sys

from harness.execd import Execd

PYTHON_SPEC = {"argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
               "display_name": "Python 3 (ipykernel)", "language": "python"}


def write_spec(folder, name="python3", spec=PYTHON_SPEC):
    file = folder / "kernels" / name / "kernel.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(spec))


class Gateway(Execd):
    """`url` is what a Jupyter client is given. Pass token=None for clients that send no credentials."""

    def __init__(self, folder, *options, env=None, **more):
        write_spec(folder)
        super().__init__(folder, *options, env={"JUPYTER_PATH": str(folder), **(env or {})}, **more)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"
