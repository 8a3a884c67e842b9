/*
 * Documents of Jupyter clients: a verb, a path, a query and a body of any bytes, at a root with files, folders and links
 * that lead out. Whatever is asked, nothing beside the root changes, and an answer is JSON.
 *
 * Input: one byte for the verb, then path, type, format and body, separated by NUL.
 */
#include <fcntl.h>
#include <ftw.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "execd/gateway/contents.h"
#include "proto/json/json_scan.h"

#define SENTINEL "untouched"
#define FIELDS 4

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char base[64];
static char root[80];

static void write_file(const char *name, const char *text)
{
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/%s", base, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        abort();
    close(fd);
}

static int drop(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    (void)st;
    (void)kind;
    (void)where;
    return remove(path);
}

static void drop_all(void)
{
    if (base[0] != '\0')
        (void)nftw(base, drop, 8, FTW_DEPTH | FTW_PHYS);
}

static void make_base(void)
{
    if (base[0] == '\0') {
        (void)snprintf(base, sizeof(base), "/tmp/fuzz-contents-%d", (int)getpid());
        (void)snprintf(root, sizeof(root), "%s/root", base);
        (void)atexit(drop_all);
    }
    drop_all();
    char path[256];
    (void)snprintf(path, sizeof(path), "%s/sub", root);
    if (mkdir(base, 0755) < 0 || mkdir(root, 0755) < 0 || mkdir(path, 0755) < 0)
        abort();
    write_file("beside", SENTINEL);
    write_file("root/text.txt", "text");
    write_file("root/note.ipynb", "{\"cells\":[]}");
    (void)snprintf(path, sizeof(path), "%s/out", root);
    if (symlink("..", path) < 0)
        abort();
    (void)snprintf(path, sizeof(path), "%s/file", root);
    if (symlink("../beside", path) < 0)
        abort();
}

static void check_outside(void)
{
    char path[256], text[32] = "";
    struct stat st;
    (void)snprintf(path, sizeof(path), "%s/beside", base);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || read(fd, text, sizeof(text) - 1) < 0 || strcmp(text, SENTINEL) != 0)
        abort();
    close(fd);
    /* Folders beside the root would count as links of the base: ".", root, and its entry. */
    if (stat(base, &st) < 0 || (st.st_nlink != 3 && st.st_nlink != 1))
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct contents_call call;
    char *copy = malloc(size + FIELDS + 1);
    const char *fields[FIELDS];
    if (size == 0 || copy == NULL) {
        free(copy);
        return 0;
    }
    memcpy(copy, data + 1, size - 1);
    memset(copy + size - 1, '\0', FIELDS + 2);
    char *at = copy, *end = copy + size - 1;
    for (int i = 0; i < FIELDS; i++) {
        fields[i] = at;
        at = i < FIELDS - 1 && at < end ? at + strlen(at) + 1 : at;
        at = at > end ? end : at;
    }
    make_base();
    contents_init(&call);
    call.verb = (enum contents_verb)(data[0] % (CONTENTS_FORGET + 1));
    call.without_content = data[0] >= 128;
    call.root = root;
    (void)snprintf(call.path, sizeof(call.path), "%s", fields[0]);
    call.type = fields[1][0] != '\0' ? fields[1] : NULL;
    call.format = fields[2][0] != '\0' ? fields[2] : NULL;
    call.body = (struct slice){fields[3], (size_t)(end - fields[3])};
    contents_run(&call);
    if (call.err.code == 0 && call.out.len > 0 &&
        json_scan((struct slice){call.out.data, call.out.len}, NULL) < 0)
        abort();
    contents_done(&call);
    check_outside();
    free(copy);
    return 0;
}
