"""README's recipes for execd, typed word for word.

In a block of shell, a line that begins with # says what the command above it prints: parts in this order, with ...
between them.
"""

import re
import subprocess
import sys
from pathlib import Path

from harness.execd import TOKEN, TOKEN_HEADER

README = (Path(__file__).resolve().parents[2] / "README.md").read_text(encoding="utf-8")
SECTION = README[README.index("\n## execd by curl"):README.index("\n## How it works")]
BLOCKS = re.findall(r"^```sh\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)
KERNELS = Path(sys.executable).parent  # has an ipykernel
MARK = "---- end of step ----"


def steps(block):
    """(command, expected parts) pairs."""
    found = []
    for line in block.splitlines():
        if line.startswith("# "):
            found[-1][1].extend(part.strip() for part in line[2:].split(" ... "))
        else:
            found.append((line, []))
    return found


def test_the_recipes_print_what_they_say(start_execd, tmp_path):
    """All blocks in one shell: a later one may use what an earlier one has set."""
    agent = start_execd(env={"PATH": f"{KERNELS}:/usr/bin:/bin"})
    everything = [step for block in BLOCKS for step in steps(block)]
    assert len(everything) > 20 and sum(bool(parts) for _, parts in everything) > 12
    script = "".join(f"{command}\nprintf '\\n%s\\n' '{MARK}'\n" for command, _ in everything)
    ended = subprocess.run(["bash", "-u", "-o", "pipefail", "-c", script], cwd=tmp_path, timeout=60, text=True,
                           capture_output=True, env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path),
                                                     "E": f"http://127.0.0.1:{agent.port}", "T": f"{TOKEN_HEADER}: {TOKEN}"})
    assert ended.stderr == ""
    outputs = ended.stdout.split(MARK + "\n")
    assert len(outputs) == len(everything) + 1
    for (command, parts), output in zip(everything, outputs):
        at = 0
        for part in parts:
            place = output.find(part, at)
            assert place >= 0, f"{command}\nprinted\n{output}\nwithout {part!r}"
            at = place + len(part)
        if not parts:
            assert '"code"' not in output, f"{command}\nfailed:\n{output}"
