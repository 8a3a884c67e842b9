/*
 * One line on stderr when execd dies of a fault of its own, then the death that the kernel meant.
 *
 * "execd: fatal SIGSEGV code 1 address 0x10 version 1.1.0 at +0x5f2a1 +0x60b3c ...": offsets into the binary, for
 * addr2line -e build/execd.debug. No core is written (the process is not dumpable and its core limit is 0). A signal of
 * the same number that a process of the sandbox sends is not a fault: PID 1 goes on.
 * Thread rule: main, once, after the dispositions were reset. Source: signal-safety(7); hardening A21, M10.
 */
#pragma once

#include "proto/base/err.h"

/* is_init: this process is PID 1 of its namespace. */
int crash_install(bool is_init, struct err *err) must_check;
