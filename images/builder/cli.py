"""How the programs of this folder end: a reason in one line and status 1, and nothing left behind."""

import signal
import sys

from .failure import Failure

LOG_LINES = 20


def stop(number, _):
    """Unwind on SIGTERM and SIGHUP too, so that the work folder goes."""
    raise Failure(f"stopped by {signal.Signals(number).name}")


def main(run):
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    try:
        run(sys.argv[1:])
    except Failure as failure:
        for line in failure.details.splitlines()[-LOG_LINES:]:
            print(f"  {line}", file=sys.stderr)
        sys.exit(f"images: {failure}")
    except OSError as error:
        sys.exit(f"images: {error}")
    except KeyboardInterrupt:
        sys.exit("images: interrupted")
