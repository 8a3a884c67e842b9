#!/usr/bin/env python3
"""Calls that are forbidden everywhere, and calls that have one owner.

Forbidden: functions without a bound, without an error, or with hidden global state. Owned: the
process primitives. In execd only proc/ forks and waits, in the server only the native runtime.
"""

import re

from tree import code, files, finish, numbered

FORBIDDEN = {
    "strcpy strcat stpcpy sprintf vsprintf gets": "unbounded copy: use strbuf or snprintf",
    "strncpy strncat": "leaves text unterminated or misreads its size: use strbuf or snprintf",
    "atoi atol atoll atof": "no error: use str_to_u64 and its kin",
    "alloca strdupa strndupa": "unbounded stack",
    "system popen": "runs a shell: use the spawn plan",
    "tmpnam tempnam mktemp tmpfile": "predictable or uncloseable name: use mkostemp with O_CLOEXEC",
    "strtok": "hidden state: use strtok_r or strchr",
    "gmtime localtime ctime asctime": "hidden state: use the _r form",
    "usleep sleep": "nothing sleeps: wait for an event",
    "setjmp longjmp": "jumps over scope guards",
    "rand srand random srandom drand48": "predictable: use getrandom",
}

NSS = "getpwnam getpwuid getgrnam getgrgid getpwnam_r getpwuid_r getgrnam_r getgrgid_r getpwent " \
      "getgrent initgroups getgrouplist getaddrinfo getnameinfo gethostbyname getservbyname dlopen"

# calls, where they are checked, where they are allowed, why.
OWNED = [
    (
        "fork vfork clone clone3 posix_spawn posix_spawnp wait waitpid waitid wait4",
        ("execd/",),
        # The last two are the first process of an isolated session, never execd itself.
        ("execd/proc/", "execd/isolate/init.c", "execd/isolate/program.c"),
        "only execd/proc forks and waits",
    ),
    (
        "fork vfork clone clone3 posix_spawn posix_spawnp wait waitpid waitid wait4",
        ("server/",),
        ("server/runtime/native/", "server/cli/"),
        "only the native runtime (and a command-line verb, in its own process) forks and waits",
    ),
    (NSS, ("execd/", "proto/"), ("execd/harden/no_nss.c",), "loads libraries of the sandbox into PID 1"),
]


def pattern(words):
    return re.compile(r"(?<![\w.>])(" + "|".join(words.split()) + r")\s*\(")


def main():
    forbidden = [(pattern(words), why) for words, why in FORBIDDEN.items()]
    owned = [(pattern(words), scope, allowed, why) for words, scope, allowed, why in OWNED]
    findings = []
    sources = files(".c", ".h", ".cc")
    for file in sources:
        path = file.as_posix()
        rules = forbidden + [
            (calls, why)
            for calls, scope, allowed, why in owned
            if path.startswith(scope) and not path.startswith(allowed)
        ]
        for line, text in numbered(code(file)):
            for calls, why in rules:
                for match in calls.finditer(text):
                    findings.append(f"{path}:{line}: {match.group(1)}(): {why}")
    finish(findings, f"{len(sources)} files")


main()
