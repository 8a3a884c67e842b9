"""The test's half of tests/fault/wrap.c: a shared file that says which call fails next."""

import mmap
import struct
from pathlib import Path

# The same order as enum fault_class.
CLASSES = ("none", "alloc", "open", "read", "write", "descriptor", "stat", "epoll", "map", "clone")
LAYOUT = "=IIqQqq"
HEAD = "=IIqQ"


class Faults:
    def __init__(self, folder):
        self.path = Path(folder) / "fault-control"
        self.path.write_bytes(bytes(struct.calcsize(LAYOUT)))
        with open(self.path, "r+b") as file:
            self.map = mmap.mmap(file.fileno(), struct.calcsize(LAYOUT))

    def arm(self, kind, errnum, n):
        """The n-th call of this kind fails, once; errnum 0 shortens a read or write to one byte."""
        struct.pack_into(HEAD, self.map, 0, 0, errnum, n, 0)
        struct.pack_into("=I", self.map, 0, CLASSES.index(kind))

    def disarm(self):
        """Whether it has struck."""
        struct.pack_into("=I", self.map, 0, 0)
        return struct.unpack_from(LAYOUT, self.map, 0)[3] > 0

    def shift(self, wall_s=0, uptime_s=0):
        """How far the clock on the wall and the clocks that only go forward are ahead, from now on."""
        struct.pack_into("=qq", self.map, struct.calcsize(HEAD), wall_s, uptime_s)

    def left(self):
        """The countdown: what arm() was given less the calls since."""
        return struct.unpack_from(LAYOUT, self.map, 0)[2]
