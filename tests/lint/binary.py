#!/usr/bin/env python3
"""The execd binary: static-pie, hardened, within its size budget, and without the NSS entry points.

A static glibc always carries the machinery to open libraries (its own stdio refers to character
set conversion); that nothing reaches it is proved at run time under a tracer by tests/pid1. Here:
no function whose call would load a library of the sandbox is in the binary at all.
"""

import re
import subprocess

from tree import BUILD, finish, skip

SIZE_MAX = 2_600_000
EXECD = BUILD / "execd"
UNSTRIPPED = BUILD / "obj/release/execd.bin"

NSS = re.compile(
    r"^(getpw(nam|uid)(_r)?|getgr(nam|gid)(_r)?|getpwent(_r)?|getgrent(_r)?|setpwent|setgrent|"
    r"initgroups|getgrouplist|gethostbyname2?_r|gethostbyaddr(_r)?|getservbyname_r|"
    r"getservbyport(_r)?|getprotobyname(_r)?|getprotobynumber_r|getspnam(_r)?|res_(n)?query|"
    r"__nss_(module_load|lookup_function|database_get)|_nss_(dns|files)_get.*)$"
)
# Reported, not refused: libc links these into every static program.
REPORTED = re.compile(r"^(iconv_open|__gconv_open|_dl_open|dlopen|__libc_dlopen_mode)$")


def run(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def defined():
    for line in run("nm", "--defined-only", str(UNSTRIPPED)).splitlines():
        fields = line.split()
        if len(fields) == 3 and fields[1] in "TtWwi":
            yield fields[2]


def hardening():
    header, segments, dynamic = (run("readelf", flag, "-W", str(EXECD)) for flag in ("-h", "-l", "-d"))
    wanted = {
        "position independent": "DYN" in header,
        "no program interpreter": "INTERP" not in segments,
        "no needed libraries": "NEEDED" not in dynamic,
        "read-only relocations": "GNU_RELRO" in segments,
        "immediate binding": "NOW" in dynamic,
        "stack not executable": bool(re.search(r"GNU_STACK.* RW +0x", segments)),
        "no segment both writable and executable": not re.search(r" RWE ", segments),
    }
    return [f"{EXECD}: fails: {name}" for name, holds in wanted.items() if not holds]


def main():
    if not EXECD.exists() or not UNSTRIPPED.exists():
        skip(f"{EXECD} is not built")
    size = EXECD.stat().st_size
    findings = hardening()
    if size > SIZE_MAX:
        findings.append(f"{EXECD}: {size} bytes, budget {SIZE_MAX}")
    symbols = set(defined())
    findings += [f"{EXECD}: contains {name}, which loads libraries at run time"
                 for name in sorted(symbols) if NSS.match(name)]
    carried = sorted(name for name in symbols if REPORTED.match(name))
    print(f"{size} bytes of {SIZE_MAX}; carried by libc itself: {', '.join(carried) or 'nothing'}")
    finish(findings, str(EXECD))


main()
