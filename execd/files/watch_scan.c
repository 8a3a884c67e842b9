#include "execd/files/watch_scan.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "execd/files/walk.h"
#include "proto/base/clock.h"
#include "proto/base/mem.h"

#define STEP_MS 20
#define FOUND_MAX (64 * 1024) /* bytes of one step; an entry more may follow */

void watch_scan_init(struct watch_scan *s, const char *path)
{
    *s = (struct watch_scan){.inotify_fd = -1, .path = xstrdup(path)};
    strbuf_init(&s->found, FOUND_MAX + PATH_MAX + 2);
}

void watch_scan_done(struct watch_scan *s)
{
    watch_dirs_done(&s->added);
    strbuf_done(&s->found);
    walk_free(s->walk);
    free(s->path);
    *s = (struct watch_scan){.inotify_fd = -1};
}

void watch_scan_clear(struct watch_scan *s)
{
    watch_dirs_done(&s->added);
    strbuf_reset(&s->found);
}

/* a + "/" + b, where either may be empty. */
static bool join(char *out, const char *a, const char *b)
{
    const char *slash = a[0] != '\0' && b[0] != '\0' && strcmp(a, "/") != 0 ? "/" : "";
    int n = snprintf(out, PATH_MAX, "%s%s%s", a, slash, b);

    return n >= 0 && n < PATH_MAX;
}

static int add_watch(struct watch_scan *s, const char *path)
{
    char absolute[PATH_MAX];
    /* The root may be a link or a file, nothing below it. */
    uint32_t mask = s->mask | (path[0] != '\0' ? IN_ONLYDIR | IN_DONT_FOLLOW : 0U);

    if (!join(absolute, s->root, path))
        return -ENAMETOOLONG;
    int wd = inotify_add_watch(s->inotify_fd, absolute, mask);
    if (wd < 0)
        return -errno;
    bool is_new = watch_dirs_find(s->known, wd) == NULL && watch_dirs_find(&s->added, wd) == NULL;
    int rc = is_new && s->room == 0 ? -ENOSPC : watch_dirs_put(&s->added, wd, path);
    if (rc < 0 && is_new)
        (void)inotify_rm_watch(s->inotify_fd, wd); /* it cannot fail: it was just made */
    else
        s->room -= is_new;
    return rc;
}

static void begin(struct watch_scan *s)
{
    char absolute[PATH_MAX];
    struct stat st;

    s->begun = true;
    s->error = add_watch(s, s->path);
    s->over_limit = s->error == -ENOSPC;
    if (join(absolute, s->root, s->path) && stat(absolute, &st) == 0)
        s->is_dir = S_ISDIR(st.st_mode);
    else
        s->vanished = true;
    s->ended = s->error < 0 || !s->recursive || !s->is_dir ||
               walk_new(absolute, &s->walk) < 0; /* a file, or gone again: nothing is below it */
}

static void take(struct watch_scan *s, const struct walk_entry *entry)
{
    char path[PATH_MAX];

    if (!join(path, s->path, entry->path))
        return;
    int rc = entry->type == DT_DIR ? add_watch(s, path) : 0;
    s->over_limit = s->over_limit || rc == -ENOSPC;
    s->vanished = s->vanished || rc == -ENOENT || rc == -ENOTDIR;
    if (!s->report)
        return;
    strbuf_addc(&s->found, entry->type == DT_DIR ? 'd' : 'f');
    strbuf_add(&s->found, path, strlen(path) + 1);
}

void watch_scan_work(struct watch_scan *s)
{
    int64_t until_ms = clock_monotonic_ms() + STEP_MS;
    struct walk_entry entry;

    if (!s->begun)
        begin(s);
    while (!s->ended && s->found.len < FOUND_MAX && clock_monotonic_ms() < until_ms) {
        switch (walk_next(s->walk, &entry)) {
        case WALK_ENTRY:
            take(s, &entry);
            break;
        case WALK_WORKING:
            break;
        case WALK_END:
            s->over_limit = s->over_limit || walk_is_cut(s->walk);
            s->ended = true;
            break;
        }
    }
    if (s->ended) { /* an open directory would not be told as deleted */
        walk_free(s->walk);
        s->walk = NULL;
    }
}
