/*
 * The version of this build. Only version.c is compiled with the text, so that a new commit
 * rebuilds one object.
 *
 * Thread rule: any thread.
 */
#pragma once

/* "1.2.0", "1.2.0-14-gabc1234", with "-dirty" for a changed tree; static, never NULL. */
const char *version_text(void);
