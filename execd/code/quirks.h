/*
 * Where kernels deviate from the protocol, as data.
 *
 * A kernel's row is found by its command line, so that a kernel.json as its maker ships it gets the row too; its own
 * metadata.execd (transports, ipc_separator, quirks) adds to it. Everything else in execd/code asks for a quirk, never
 * for a kernel. Names that are not in the table mean nothing and are legal: a kernelspec may be newer than execd.
 * Pure. Thread rule: any thread. Source: contracts/kernels.md 1.1, 1.2, 2, 5 (measured).
 */
#pragma once

#include "proto/json/jfield.h"

enum kernel_quirk {
    /* The text on its stderr is all that it tells of an error: ename, evalue and traceback are read from there. */
    QUIRK_ERROR_AS_STDERR = 1u << 0,
    /* Refuses everything for 200 ms after an error, with the status "abort". */
    QUIRK_ABORT_WINDOW = 1u << 1,
    /* What should be an execute_result is display_data: the number of the run comes with the reply only. */
    QUIRK_RESULT_AS_DISPLAY_DATA = 1u << 2,
    /* Writes of the user's code to descriptors 1 and 2 bypass the protocol. */
    QUIRK_RAW_OUTPUT = 1u << 3,
    /* Some code (deno: a pending await; xeus: any) cannot be interrupted: it is killed soon instead of late. */
    QUIRK_NOT_INTERRUPTIBLE = 1u << 4,
    /* SIGINT ends it, so it is never sent, whatever the kernelspec says. */
    QUIRK_SIGINT_KILLS = 1u << 5,
    /* evalue is "java.lang.Error, text" and ename says nothing. */
    QUIRK_CLASS_IN_EVALUE = 1u << 6,
    /* The result may come a moment after "idle". */
    QUIRK_LATE_RESULT = 1u << 7,
    /* Compiles a cell that it has called "busy": meanwhile an interrupt is lost (tslab) or hangs it (JJava). */
    QUIRK_COMPILES_FIRST = 1u << 8,
};

enum kernel_transport { TRANSPORT_IPC = 1u << 0, TRANSPORT_TCP = 1u << 1 };

/* What is known of one kernelspec. */
struct kernel_traits {
    unsigned quirks;     /* of enum kernel_quirk */
    unsigned transports; /* of enum kernel_transport; never 0 */
    char ipc_separator;  /* between the prefix and the number of a socket's path */
};

/* The row for a command line, or the traits of a kernel that keeps to the protocol. */
struct kernel_traits kernel_traits_find(const struct jstrings *argv);
/* The bit of a quirk by its name in a kernelspec; 0 for one that needs nothing from execd. */
unsigned kernel_quirk_by_name(const char *name);

/* Makes an error as the kernel sent it ({ename, evalue, traceback}, all present) one that a client can show.
 * said: the run's text on stderr, for QUIRK_ERROR_AS_STDERR. */
void kernel_quirks_mend_error(unsigned quirks, json_t *error, struct slice said);
