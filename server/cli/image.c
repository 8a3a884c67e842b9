#include <errno.h>
#include <stdio.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/err.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"
#include "server/cli/cli.h"
#include "server/config.h"
#include "server/runtime/native/images.h"

static int fail(const struct err *err)
{
    fprintf(stderr, "execd-server: image: %s\n", err->text);
    return 1;
}

static int print_one(void *arg, const struct image *image)
{
    char created[CLOCK_RFC3339_MAX];

    (void)arg;
    clock_format_us(image->created_us, created);
    printf("%-32s %.19s %8.1f MB  %s\n", image->name, image->digest,
           (double)image->size_bytes / 1e6, created);
    return 0;
}

static int image_ls(const char *store, struct arena *arena)
{
    struct err err = {0};

    printf("%-32s %-19s %11s  %s\n", "NAME", "DIGEST", "SIZE", "CREATED");
    return images_each(store, arena, print_one, NULL, &err) < 0 ? fail(&err) : 0;
}

/* The recipe's own program does the building; its progress goes to our standard error. */
static int run_recipe(const char *recipe, const char *out_dir)
{
    char program[4096];
    int status;

    snprintf(program, sizeof(program), "%s/build", recipe);
    pid_t pid = fork();
    if (pid == 0) {
        execl(program, program, out_dir, (char *)NULL);
        fprintf(stderr, "execd-server: image: run '%s': %s\n", program, strerror(errno));
        _exit(127);
    }
    if (pid < 0 || waitpid(pid, &status, 0) < 0)
        return -errno;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0 ? 0 : -ECANCELED;
}

static bool has_file(const char *dir, const char *name, int mode)
{
    char path[4096];

    return snprintf(path, sizeof(path), "%s/%s", dir, name) < (int)sizeof(path) &&
           access(path, mode) == 0;
}

static int check_recipe(const char *dir, struct err *err)
{
    struct stat st;

    if (stat(dir, &st) < 0)
        return errno == ENOENT ? err_set(err, 0, ENOENT, "no such folder: '%.150s'", dir)
                               : err_sys(err, 0, errno, "'%.150s'", dir);
    if (!S_ISDIR(st.st_mode))
        return err_set(err, 0, ENOTDIR, "'%.150s' is no folder", dir);
    if (!has_file(dir, "build", X_OK))
        return err_set(err, 0, ENOENT,
                       "'%.150s' has neither rootfs.tar (of an image that was built) nor a program "
                       "`build` (of a recipe)",
                       dir);
    return 0;
}

/* Runs the recipe in a new folder. */
static int make_image(const char *dir, const char *out, struct err *err)
{
    int rc = check_recipe(dir, err);

    if (rc == 0 && mkdir(out, 0700) < 0)
        rc = err_sys(err, 0, errno, "make '%s'", out);
    if (rc < 0 || run_recipe(dir, out) == 0)
        return rc;
    if (rmdir(out) == 0) /* it left nothing to look at */
        return err_set(err, 0, ECANCELED, "the recipe in '%.100s' failed (see above)", dir);
    return err_set(err, 0, ECANCELED,
                   "the recipe in '%.80s' failed (see above); its output is in '%.80s'", dir, out);
}

/* DIR is a recipe (has an executable `build`) or the output of one (has rootfs.tar). */
static int image_build(const char *store, const char *dir, const char *name, struct arena *arena)
{
    const char *out = dir;
    struct image image;
    struct err err = {0};

    if (!has_file(dir, "rootfs.tar", R_OK)) {
        out = arena_printf(arena, "%s/build.%d", store, (int)getpid());
        if (make_image(dir, out, &err) < 0)
            return fail(&err);
    }
    if (images_import(store, name, out, arena, &image, &err) < 0)
        return fail(&err);
    printf("%s %s\n", image.name, image.digest);
    return 0;
}

static int usage(void)
{
    fputs("usage: execd-server image ls\n"
          "       execd-server image build DIR [NAME]   DIR: a recipe, or a folder with rootfs.tar "
          "and config.json\n"
          "       execd-server image rm NAME\n",
          stderr);
    return 2;
}

int cli_image(struct config *config, int argc, char *const *argv)
{
    struct arena arena;
    struct err err = {0};
    int code;

    arena_init(&arena);
    const char *store = arena_printf(&arena, "%s/images", config->state_dir);
    int rc = path_mkdirs_in_root(AT_FDCWD, store, 0700);
    if (rc < 0) {
        (void)err_sys(&err, 0, -rc, "image store '%s'", store);
        code = fail(&err);
    } else if (argc == 1 && strcmp(argv[0], "ls") == 0) {
        code = image_ls(store, &arena);
    } else if ((argc == 2 || argc == 3) && strcmp(argv[0], "build") == 0) {
        char cleaned[4096];
        const char *name = argc == 3                           ? argv[2]
                           : path_clean(argv[1], cleaned) == 0 ? path_basename(cleaned)
                                                               : argv[1];
        code = image_build(store, argv[1], name, &arena);
    } else if (argc == 2 && strcmp(argv[0], "rm") == 0) {
        code = images_remove(store, argv[1], &err) < 0 ? fail(&err) : 0;
    } else {
        code = usage();
    }
    arena_done(&arena);
    return code;
}
