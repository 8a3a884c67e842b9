"""Runs inside the root: writes matplotlib's font cache and brings it into one order.

The cache lists fonts as the file system happened to return them; sorted, the image is the same on
every machine. The folder is open to every user because matplotlib refuses a cache it cannot write.
"""

import json
import os
from pathlib import Path

folder = Path(os.environ["MPLCONFIGDIR"])
folder.mkdir(parents=True, exist_ok=True)

import matplotlib.font_manager  # noqa: E402  (writes the cache when imported)

assert matplotlib.font_manager.fontManager.ttflist

(cache,) = folder.glob("fontlist-*.json")
data = json.loads(cache.read_text())
for fonts in ("ttflist", "afmlist"):
    data[fonts].sort(key=lambda font: json.dumps(font, sort_keys=True))
cache.write_text(json.dumps(data, sort_keys=True))

for entry in folder.iterdir():
    if entry != cache:
        raise SystemExit(f"unexpected file {entry}")
cache.chmod(0o644)
folder.chmod(0o1777)
