/*
 * execd: from the first instruction to the event loop, in the order that hardening asks for.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "execd/app.h"
#include "execd/file_worker.h"
#include "execd/init/bootstrap.h"
#include "execd/init/jupyter.h"
#include "execd/init/pid1.h"
#include "execd/isolate/init.h"
#include "execd/isolate/plan.h"
#include "execd/sql/worker.h"
#include "execd/worker/worker.h"
#include "proto/base/mem.h"

#define EXIT_USAGE 2

static int fail(const struct err *err, int code)
{
    fprintf(stderr, "execd: %s\n", err->text);
    return code;
}

static int open_log(const struct config *config, struct err *err)
{
    int fd = STDERR_FILENO;
    if (config->log_file != NULL) {
        fd = open(config->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0600);
        if (fd < 0)
            return err_sys(err, 0, errno, "--log-file: open '%.150s'", config->log_file);
    }
    log_init(fd, config->log_level);
    return 0;
}

/* The command line as it is, or what other names of execd make of it; the arena lives as long as the process. */
static int take_command_line(int *argc, char ***argv, struct arena *arena, struct err *err)
{
    arena_init(arena);
    if (jupyter_is_wanted(*argc, *argv))
        return jupyter_prepare(*argc, *argv, arena, argc, argv, err);
    if (!bootstrap_is_wanted(*argc, *argv))
        return 0;
    return bootstrap_prepare(*argc, *argv, arena, argc, argv, err);
}

int main(int argc, char **argv)
{
    struct arena words;
    struct config config;
    struct cgroup_dirs handed;
    struct err err = {.text = ""};

    if (argc > 1 && strcmp(argv[1], ISOLATE_INIT_ARG) == 0)
        return isolate_init_main(argc, argv);
    if (argc > 1 && strcmp(argv[1], FILE_WORKER_ARG) == 0)
        return file_worker_main(argc, argv);
    if (argc > 1 && strcmp(argv[1], SQL_WORKER_ARG) == 0)
        return sql_worker_main();
    if (pid1_shield(&err) < 0)
        return fail(&err, EXIT_FAILURE);
    mem_setup();
    bool bootstrap = bootstrap_is_wanted(argc, argv), jupyter = jupyter_is_wanted(argc, argv);
    int result = take_command_line(&argc, &argv, &words, &err);
    if (result < 0)
        return fail(&err, jupyter ? EXIT_USAGE : EXIT_FAILURE);
    if (jupyter && result == JUPYTER_EXIT)
        return EXIT_SUCCESS;
    result = config_load(argc, argv, &config, &err);
    if (result < 0)
        return fail(&err, EXIT_USAGE);
    if (result == CONFIG_EXIT)
        return EXIT_SUCCESS;
    if (pid1_settle(&config.listen_fd, &handed, &err) < 0 || open_log(&config, &err) < 0)
        return fail(&err, EXIT_FAILURE);
    config.term_is_success = bootstrap && !config.init;
    result = app_run(&config, &handed, &err);
    config_done(&config);
    arena_done(&words);
    return result < 0 ? fail(&err, EXIT_FAILURE) : result;
}
