/*
 * kernel.json and the placeholders in it. A spec that parses has a program and a language, and its substituted
 * arguments are as many as before.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/code/kernelspec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(struct kernelspec *spec, struct arena *arena)
{
    static const char *const envp[] = {"A=1", "HOME=/root", NULL};
    size_t n = 0;
    spec->resource_dir = "/resource";
    if (spec->argv.n == 0 || !spec->argv.items[0][0] || !spec->language[0] || !spec->display_name)
        abort();
    const char *const *argv = kernelspec_argv(spec, "/connection.json", arena);
    while (argv && argv[n])
        n++;
    if (argv && n != spec->argv.n)
        abort();
    for (size_t i = 0; i < spec->env.n; i++)
        (void)kernelspec_env_value(spec->env.items[i].value, envp,
                                   arena); /* only its memory use matters */
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct kernelspec spec = {0};
    arena_init(&arena);
    if (size <= KERNELSPEC_FILE_MAX &&
        kernelspec_parse((const char *)data, size, &arena, &spec, NULL) >= 0)
        check(&spec, &arena);
    arena_done(&arena);
    return 0;
}
