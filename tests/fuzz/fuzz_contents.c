/*
 * Documents of Jupyter clients: a verb, a path, a query and a body of any bytes, at a root with files, folders and links
 * that lead out. Whatever is asked, nothing beside the root changes, an answer is a model of what was asked for, what was
 * refused or only read has changed nothing, no half file is left, and a text that was saved is the one that is shown.
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
#include "proto/json/json_load.h"
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

/* Names, kinds and sizes of everything below the root, and what stands in its files; the order is the disk's. */
static uint64_t sum;

static int add_to_sum(const char *path, const struct stat *st, int kind, struct FTW *where)
{
    char text[256] = "";
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    if (strstr(path, "/.execd-") != NULL)
        abort(); /* a temporary file */
    int fd = S_ISREG(st->st_mode) ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd >= 0 && read(fd, text, sizeof(text) - 1) < 0)
        abort();
    if (fd >= 0)
        close(fd);
    (void)where;
    for (const char *p = path; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    for (const char *p = text; *p != '\0'; p++)
        hash = (hash ^ (unsigned char)*p) * UINT64_C(0x100000001b3);
    if (strcmp(path + where->base, ".ipynb_checkpoints") != 0) /* made before there is one */
        sum += hash + (uint64_t)kind + (S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0);
    return 0;
}

static uint64_t sum_of_root(void)
{
    sum = 0;
    if (nftw(root, add_to_sum, 8, FTW_PHYS) != 0)
        abort();
    return sum;
}

static bool is_read_only(enum contents_verb verb)
{
    return verb == CONTENTS_GET || verb == CONTENTS_CHECKPOINTS;
}

static bool leads_out(const char *path)
{
    return path[0] == '/' || path[0] == '.' || strstr(path, "/.") != NULL;
}

static json_t *answer_of(const struct contents_call *call)
{
    struct slice text = {call->out.data, call->out.len};
    json_t *answer = json_scan(text, NULL) == 0 ? json_load_tolerant(text) : NULL;
    if (answer == NULL || call->out.len > CONTENTS_ANSWER_MAX)
        abort();
    return answer;
}

static void check_answer(const struct contents_call *call)
{
    if ((call->outcome == CONTENTS_DONE) != (call->out.len == 0) || leads_out(call->location))
        abort();
    if (call->out.len == 0)
        return;
    json_t *answer = answer_of(call);
    const char *path = json_string_value(json_object_get(answer, "path"));
    bool is_model = call->verb <= CONTENTS_RENAME;
    if (is_model && (path == NULL || leads_out(path) || !json_object_get(answer, "content")))
        abort();
    bool is_text = utf8_is_valid(call->location, strlen(call->location)); /* else it is repaired */
    if (call->location[0] != '\0' && is_text && strcmp(path, call->location) != 0)
        abort();
    json_decref(answer);
}

/* A text that was saved whole comes back as it is. */
static void check_round_trip(const struct contents_call *saved)
{
    struct contents_call call;
    json_t *body = json_load_tolerant(saved->body);
    const char *type = json_string_value(json_object_get(body, "type"));
    const json_t *content = json_object_get(body, "content"),
                 *format = json_object_get(body, "format");
    bool plain = type != NULL && strcmp(type, "file") == 0 && json_is_string(content) &&
                 (format == NULL ||
                  (json_is_string(format) && strcmp(json_string_value(format), "text") == 0)) &&
                 json_object_get(body, "chunk") == NULL;
    if (plain) {
        contents_init(&call);
        call.verb = CONTENTS_GET;
        call.root = root;
        call.type = "file";
        call.format = "text";
        memcpy(call.path, saved->path, sizeof(call.path));
        contents_run(&call);
        json_t *answer = call.err.code == 0 ? answer_of(&call) : NULL;
        if (answer == NULL || !json_equal(json_object_get(answer, "content"), content))
            abort();
        json_decref(answer);
        contents_done(&call);
    }
    json_decref(body);
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
    uint64_t before = sum_of_root();
    contents_run(&call);
    bool failed = call.err.code != 0;
    if (failed != (call.err.text[0] != '\0') || (failed && call.out.len > 0))
        abort();
    if ((failed || is_read_only(call.verb)) && sum_of_root() != before)
        abort();
    if (!failed)
        check_answer(&call);
    if (!failed && call.verb == CONTENTS_SAVE)
        check_round_trip(&call);
    contents_done(&call);
    check_outside();
    free(copy);
    return 0;
}
