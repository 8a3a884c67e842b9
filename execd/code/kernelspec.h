/*
 * Kernelspecs: which languages there are, and how to start a kernel for one.
 *
 * Looked up anew each time, so that dropping a kernel.json makes a language available at once. Folders, first
 * hit by lower-cased name wins: every entry of $JUPYTER_PATH, /etc/opensandbox/kernelspecs, the user's data
 * folder, <prefix of python3 on PATH>/share/jupyter, /usr/local/share/jupyter, /usr/share/jupyter,
 * ~/.ipython. Without a spec for python, an importable ipykernel is enough.
 * The files belong to the sandbox and are hostile: size, count and shape are bounded, a broken one is skipped
 * and remembered with what is wrong in it.
 * Thread rule: any thread; small blocking reads. Source: contracts/jupyter.md 1.15, execd.md 3.1.
 */
#pragma once

#include "execd/code/quirks.h"
#include "proto/base/err.h"

#define KERNELSPEC_FILE_MAX (64u << 10)
#define KERNELSPEC_SCAN_MAX 1000 /* directory entries looked at per folder */
#define KERNELSPEC_MAX 256       /* specs known at once */
#define KERNELSPEC_BROKEN_MAX 16 /* of which it is remembered */

/* metadata.execd of a kernel.json: what execd should know and Jupyter clients ignore. */
struct kernelspec_hints {
    struct jstrings transports; /* "ipc", "tcp"; none named = both */
    struct jstrings quirks;     /* names as in quirks.c */
    const char *ipc_separator;  /* one character; NULL = as usual */
};
struct kernelspec_metadata {
    struct kernelspec_hints execd;
    int64_t cull_idle_timeout; /* seconds; 0 = never */
    bool has_cull_idle_timeout;
};

struct kernelspec {
    const char *name; /* folder name, lower case */
    const char *display_name;
    const char *language;
    const char *resource_dir;
    struct jstrings argv; /* not empty; placeholders not yet replaced */
    struct jmap env;
    const char *interrupt_mode;
    bool interrupt_by_message; /* always for a kernel that SIGINT ends */
    struct kernelspec_metadata metadata;
    const char *metadata_json; /* all of it, as the file has it; NULL = none */
    struct kernel_traits
        traits; /* known of the program, and what metadata adds; transports may be 0 */
};

/* A file that is there and cannot be used. */
struct kernelspec_broken {
    const char *name; /* folder name, lower case */
    const char *file, *why;
    int64_t version; /* another one when the file has changed */
};

/* Everything found at one time; strings live in its arena. */
struct kernelspecs {
    struct arena arena;
    struct kernelspec items[KERNELSPEC_MAX];
    size_t n;
    bool is_cut; /* memory ended: there may be more */
    struct kernelspec_broken broken[KERNELSPEC_BROKEN_MAX];
    size_t n_broken;
};

/* Where to look: values of the environment, NULL where unset. */
struct kernelspec_env {
    const char *jupyter_path, *jupyter_data_dir, *home, *path;
};

/* Reads one kernel.json into ret_spec (name and resource_dir are left alone). Strings go to the arena. -EINVAL. */
int kernelspec_parse(const char *text, size_t len, struct arena *arena, struct kernelspec *ret_spec,
                     struct err *err) must_check;

/* Where to add one, for error texts. */
#define KERNELSPEC_HINT "add /etc/opensandbox/kernelspecs/NAME/kernel.json"

struct kernelspecs *kernelspecs_scan(const struct kernelspec_env *env);
void kernelspecs_free(struct kernelspecs *specs); /* NULL is fine */
/* The spec for a language (any case): one named like the language, else like it with a 3 behind, else the first
 * by name, else one that has this name whatever its language. NULL when there is none. */
const struct kernelspec *kernelspecs_find(const struct kernelspecs *specs, const char *language);
/* The spec with this name, in any case; "python" means python3 where there is none of that name. May be NULL. */
const struct kernelspec *kernelspecs_named(const struct kernelspecs *specs, const char *name);
/* The broken file that would be the one for this language or name, else NULL. */
const struct kernelspec_broken *kernelspecs_broken(const struct kernelspecs *specs,
                                                   const char *name);
/* "bash, python (python3)", by name: languages, and names where they are others; "..." for what does not fit; "none". */
void kernelspecs_known(const struct kernelspecs *specs, char *buf, size_t size);

/* argv with {connection_file} and {resource_dir} replaced; other braces stay. NULL when out of memory. */
const char *const *kernelspec_argv(const struct kernelspec *spec, const char *connection_file,
                                   struct arena *arena);
/* A value of the spec's env with ${NAME} replaced from envp ("" when undefined). NULL when out of memory. */
const char *kernelspec_env_value(const char *value, const char *const *envp, struct arena *arena);
