/*
 * A seam for tests: where the two files lie.
 *
 * Thread rule: loop thread only; changed before the first lookup.
 */
#pragma once

extern const char *users_etc_dir; /* "/etc" */
