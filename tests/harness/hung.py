"""A file system that never answers: what waits for it cannot even be killed."""

import ctypes
import os
import subprocess
import sys

import pytest

LIBC = ctypes.CDLL(None, use_errno=True)

# Agrees on version 7.12 (no read ahead beyond 64 KiB, no flags, 64 KiB at once), takes every request, answers none.
DAEMON = """
import os, struct, sys
fd = int(sys.argv[1])
answer = struct.pack("<IIIIHHI", 7, 12, 65536, 0, 0, 0, 65536)
while True:
    request = os.read(fd, 1 << 17)
    _, opcode, unique = struct.unpack_from("<IIQ", request)
    if opcode == 26:
        os.write(fd, struct.pack("<IiQ", 16 + len(answer), 0, unique) + answer)
"""


class HungFileSystem:
    def __init__(self, folder):
        self.folder = os.fsencode(folder)
        try:
            fd = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            pytest.skip(f"no FUSE: {error}")
        self.daemon = subprocess.Popen([sys.executable, "-c", DAEMON, str(fd)], pass_fds=(fd,), stderr=subprocess.DEVNULL)
        options = f"fd={fd},rootmode=40000,user_id=0,group_id=0".encode()
        mounted = LIBC.mount(b"hung", self.folder, b"fuse", 0, options)
        error = ctypes.get_errno()
        os.close(fd)
        if mounted != 0:
            self.answer_all()
            pytest.skip(f"FUSE cannot be mounted: {os.strerror(error)}")

    def answer_all(self):
        """Without its daemon every request fails, those under way too."""
        self.daemon.kill()
        self.daemon.wait()

    def end(self):
        self.answer_all()
        LIBC.umount2(self.folder, 2)
