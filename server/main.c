#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"
#include "proto/base/options.h"
#include "proto/base/str.h"
#include "proto/base/version.h"
#include "server/app.h"
#include "server/cli/cli.h"

struct flags {
    const char *config, *port, *host, *log_level;
    bool help, version, json;
};

static const struct option_row option_rows[] = {
    {"config", 'c', OPTION_STRING, "SANDBOX_CONFIG_PATH", "FILE",
     "TOML configuration file. Default: ~/.sandbox.toml if it exists.", "Options",
     offsetof(struct flags, config), NULL},
    {"host", 0, OPTION_STRING, NULL, "ADDR", "Address to listen on (server.host).", NULL,
     offsetof(struct flags, host), NULL},
    {"port", 'p', OPTION_STRING, NULL, "PORT",
     "Port to listen on (server.port); 0 takes a free one.", NULL, offsetof(struct flags, port),
     NULL},
    {"log-level", 0, OPTION_STRING, NULL, "LEVEL", "debug, info, warn or error (log.level).", NULL,
     offsetof(struct flags, log_level), NULL},
    {"version", 'V', OPTION_FLAG, NULL, NULL, "Print the version and exit.", NULL,
     offsetof(struct flags, version), NULL},
    {"json", 0, OPTION_FLAG, NULL, NULL, "With --version: as JSON.", NULL,
     offsetof(struct flags, json), NULL},
    {"help", 'h', OPTION_FLAG, NULL, NULL, "Print this text and exit.", NULL,
     offsetof(struct flags, help), NULL},
};

static const char usage_head[] =
    "execd-server: creates sandboxes, runs execd in them, and answers the OpenSandbox lifecycle "
    "API.\n"
    "\n"
    "Usage:\n"
    "  execd-server [OPTIONS]                    serve (until SIGTERM; sandboxes survive a "
    "restart)\n"
    "  execd-server [OPTIONS] init-config [FILE] write a commented configuration (default "
    "and -: standard output)\n"
    "  execd-server [OPTIONS] image ls           list the images that sandboxes can start from\n"
    "  execd-server [OPTIONS] image build DIR [NAME]\n"
    "                                            build the recipe in DIR (images/...), or take "
    "what "
    "was built\n"
    "                                            there, and add it as NAME (the folder's name)\n"
    "  execd-server [OPTIONS] image rm NAME      remove an image's name, and its files with the "
    "last name\n"
    "\n";

static const char usage_tail[] =
    "\n"
    "A first sandbox:\n"
    "  execd-server image build images/python-code-interpreter\n"
    "  execd-server --port 8080 &\n"
    "  curl -X POST localhost:8080/v1/sandboxes -d "
    "'{\"image\":{\"uri\":\"python-code-interpreter\"},\n"
    "       "
    "\"entrypoint\":[\"tail\",\"-f\",\"/dev/null\"],\"resourceLimits\":{\"memory\":\"512Mi\"}}'\n";

static int fail(const struct err *err)
{
    fprintf(stderr, "execd-server: %s\n", err->text);
    return 2;
}

static int print_version(bool json)
{
    printf(json ? "{\"name\":\"execd-server\",\"version\":\"%s\"}\n" : "execd-server %s\n",
           version_text());
    return 0;
}

static int print_help(void)
{
    fputs(usage_head, stdout);
    fflush(stdout);
    options_print_help(option_rows, ARRAY_LEN(option_rows), STDOUT_FILENO);
    fputs(usage_tail, stdout);
    return 0;
}

static int apply_flags(const struct flags *f, struct config *c, struct err *err)
{
    if (f->host != NULL)
        c->host = f->host;
    if (f->log_level != NULL)
        c->log_level = f->log_level;
    if (f->port != NULL && (str_to_i64(f->port, &c->port) < 0 || c->port < 0 || c->port > 65535))
        return err_set(err, 0, EINVAL, "--port: '%s' is not a number from 0 to 65535", f->port);
    return 0;
}

static int start_log(const struct config *c, struct err *err)
{
    enum log_level level;
    int fd = STDERR_FILENO;

    if (log_level_parse(c->log_level, &level) < 0)
        return err_set(err, 0, EINVAL, "log level '%s': expected debug, info, warn or error",
                       c->log_level);
    if (c->log_file != NULL) {
        fd = open(c->log_file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd < 0)
            return err_sys(err, 0, errno, "log file '%s'", c->log_file);
    }
    log_init(fd, level);
    log_capture_libevent();
    return 0;
}

int main(int argc, char **argv)
{
    struct flags flags = {0};
    struct config config;
    struct err err = {0};
    int next;

    if (fd_fix_stdio() < 0)
        return 1;
    mem_setup();
    if (options_parse(option_rows, ARRAY_LEN(option_rows), argc, argv, &flags, &next, &err) < 0)
        return fail(&err);
    if (flags.help)
        return print_help();
    if (flags.version)
        return print_version(flags.json);
    if (next < argc && strcmp(argv[next], "init-config") == 0)
        return cli_init_config(argc - next - 1, argv + next + 1);
    if (config_load(flags.config, &config, &err) < 0 || apply_flags(&flags, &config, &err) < 0)
        return fail(&err);
    if (next < argc && strcmp(argv[next], "image") == 0)
        return cli_image(&config, argc - next - 1, argv + next + 1);
    if (next < argc) {
        (void)err_set(&err, 0, EINVAL, "unknown command '%s' (see --help)", argv[next]);
        return fail(&err);
    }
    if (config_finish(&config, &err) < 0 || start_log(&config, &err) < 0)
        return fail(&err);
    int code = app_run(&config);
    config_done(&config);
    return code;
}
