/*
 * What the files of the driver share: the descriptors of the shell, what is written to it (shell_script.c), and how it
 * comes to life (shell_start.c). shell_driver.c reads and waits. Loop thread only.
 */
#pragma once

#include "execd/exec/shell_driver.h"
#include "execd/proc/shell.h"
#include "proto/base/str.h"

enum {
    SHELL_FD_LINES,
    SHELL_FD_OUT,
    SHELL_FD_NULL,
    SHELL_FD_REPORT,
    SHELL_FD_ERR = 5,
    SHELL_FD_TELL,
    SHELL_FD_EVAL,
    SHELL_FD_CONFIG
};

/* A shell that reads lines from a pipe of packets gets each line in packets of its own. Below the smallest read of any
 * shell. */
#define SHELL_PACKET 512
/* The first field of what a shell reports before a text runs. */
#define SHELL_BEGUN "begun"

/* ---- what is written ---- */

/* What bash sources for every run, and for its report. */
extern const char shell_script_eval[], shell_script_tell[];
/* The first lines for bash, before any run. */
extern const char shell_script_setup[];
/* Lines that run the text; by_source: with the files above. */
void shell_script_add_run(struct strbuf *out, const struct shell_text *text, bool by_source);
/* Lines that make the shell report, with this nonce. */
void shell_script_add_report(struct strbuf *out, const char *nonce, bool by_source);

/* ---- the start ---- */

/* Our ends of the pipes and those of the shell; -1 = closed or taken. */
struct shell_ends {
    int lines[2], out[2], err[2], report[2], eval, tell;
};
#define SHELL_ENDS_UNSET ((struct shell_ends){{-1, -1}, {-1, -1}, {-1, -1}, {-1, -1}, -1, -1})
int shell_ends_open(struct shell_ends *e, bool packets) must_check;
void shell_ends_close(struct shell_ends *e);
int shell_spawn(const struct shell_start *start, const struct shell *shell,
                const struct shell_ends *e, struct arena *arena, struct pidref *ret_pid,
                struct err *err) must_check;
