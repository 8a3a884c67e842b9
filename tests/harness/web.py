"""Single requests, each on a connection of its own, with the patience of the tests (httpx alone gives up after 5 s)."""

from functools import partial

import httpx

from harness.patience import PATIENCE_S

get = partial(httpx.get, timeout=PATIENCE_S)
post = partial(httpx.post, timeout=PATIENCE_S)
request = partial(httpx.request, timeout=PATIENCE_S)
