#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/cleanup.h"
#include "proto/base/fd.h"
#include "proto/base/str.h"
#include "server/cli/cli.h"
#include "server/config.h"

int cli_init_config(int argc, char *const *argv)
{
    cleanup_strbuf struct strbuf text;
    cleanup_fd int fd = -1;
    int out = STDOUT_FILENO;

    strbuf_init(&text, 0);
    config_write_example(&text);
    if (argc > 0 && strcmp(argv[0], "-") != 0) {
        fd = out = open(argv[0], O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        if (fd < 0) {
            fprintf(stderr, "execd-server: '%s': %s\n", argv[0],
                    errno == EEXIST ? "exists already; it is never overwritten" : strerror(errno));
            return 1;
        }
    }
    int rc = fd_write_all(out, text.data, text.len);
    if (rc < 0)
        fprintf(stderr, "execd-server: write: %s\n", strerror(-rc));
    return rc < 0 ? 1 : 0;
}
