#include <errno.h>
#include <event2/event.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "execd/files/watch_priv.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"
#include "proto/json/jfield.h"

#define READ_SIZE 16384        /* some hundred events for each turn of the loop */
#define CHANGE_MAX (64 * 1024) /* JSON of two paths, each byte six */

/* ---- what readers are told ---- */

static void add_path(struct strbuf *out, const struct watch *w, const char *path)
{
    struct strbuf whole;

    strbuf_init(&whole, 0);
    strbuf_adds(&whole, w->root);
    if (path[0] != '\0' && strcmp(w->root, "/") != 0)
        strbuf_addc(&whole, '/');
    strbuf_adds(&whole, path);
    json_escape(out, whole.data, whole.len);
    strbuf_done(&whole);
}

void watch_tell(struct watch *w, const char *kind, const char *path, bool is_dir, const char *from)
{
    struct strbuf json;

    strbuf_init(&json, CHANGE_MAX);
    strbuf_addf(&json, "{\"kind\":\"%s\",\"path\":", kind);
    add_path(&json, w, path);
    if (from != NULL) {
        strbuf_adds(&json, ",\"from\":");
        add_path(&json, w, from);
    }
    strbuf_addf(&json, ",\"directory\":%s}", is_dir ? "true" : "false");
    if (strbuf_check(&json) == 0)
        channel_append(w->ch, EVENT_CHANGE, json.data, json.len);
    strbuf_done(&json);
}

void watch_tell_gap(struct watch *w, const char *fragment)
{
    channel_append(w->ch, EVENT_GAP, fragment, strlen(fragment));
}

/* ---- moves ---- */

static void on_drop(void *arg, int wd)
{
    const struct watch *w = arg;

    (void)inotify_rm_watch(w->fd, wd); /* it may have gone by itself */
}

void watch_settle_move(struct watch *w)
{
    cleanup_free char *from = take_ptr(&w->moved_from);

    if (from == NULL)
        return;
    if (w->moved_is_dir)
        watch_dirs_drop(&w->dirs, from, on_drop, w);
    watch_tell(w, "deleted", from, w->moved_is_dir, NULL);
}

static void on_moved_from(struct watch *w, const struct inotify_event *e, const char *path)
{
    w->moved_from = xstrdup(path);
    w->moved_cookie = e->cookie;
    w->moved_is_dir = (e->mask & IN_ISDIR) != 0;
    watch_await(w);
}

/* A directory whose scan came too late for its old name is scanned under the new one, and told. */
static void on_moved_within(struct watch *w, const char *to)
{
    cleanup_free char *from = take_ptr(&w->moved_from);

    if (w->moved_is_dir &&
        (watch_dirs_move(&w->dirs, from, to) < 0 || watch_dirs_move(&w->todo, from, to) < 0))
        watch_tell_gap(w, WATCH_GAP_OVERFLOW);
    watch_tell(w, "moved", to, w->moved_is_dir, from);
    if (w->moved_is_dir && w->missed)
        watch_want_scan(w, to);
}

/* ---- events ---- */

static void on_root(struct watch *w, uint32_t mask)
{
    bool is_dir = w->root_is_dir;

    if ((mask & (IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT | IN_IGNORED)) != 0) {
        watch_settle_move(w);
        watch_tell(w, "deleted", "", is_dir, NULL);
        w->root_wd = -1;
    } else if ((mask & IN_ATTRIB) != 0) {
        watch_tell(w, "attributes", "", is_dir, NULL);
    } else if ((mask & IN_MODIFY) != 0) {
        watch_tell(w, "modified", "", is_dir, NULL);
    } else if ((mask & IN_CLOSE_WRITE) != 0) {
        watch_tell(w, "written", "", is_dir, NULL);
    }
}

static void on_entry(struct watch *w, const struct inotify_event *e, const char *path)
{
    static const struct {
        uint32_t mask;
        const char *kind;
    } rows[] = {{IN_CREATE, "created"},  {IN_MOVED_TO, "created"},    {IN_DELETE, "deleted"},
                {IN_MODIFY, "modified"}, {IN_CLOSE_WRITE, "written"}, {IN_ATTRIB, "attributes"}};
    bool is_dir = (e->mask & IN_ISDIR) != 0;

    if ((e->mask & IN_MOVED_TO) != 0 && w->moved_from != NULL && w->moved_cookie == e->cookie) {
        on_moved_within(w, path);
        return;
    }
    watch_settle_move(w);
    if ((e->mask & IN_MOVED_FROM) != 0) {
        on_moved_from(w, e, path);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if ((e->mask & rows[i].mask) != 0)
            watch_tell(w, rows[i].kind, path, is_dir, NULL);
    }
    if (is_dir && (e->mask & (IN_CREATE | IN_MOVED_TO)) != 0)
        watch_want_scan(w, path);
}

static void on_event(struct watch *w, const struct inotify_event *e)
{
    char path[PATH_MAX];

    if ((e->mask & IN_Q_OVERFLOW) != 0) {
        watch_settle_move(w);
        watch_tell_gap(w, WATCH_GAP_OVERFLOW);
        watch_want_scan(w, ""); /* directories may be among what was lost */
        return;
    }
    const char *dir = watch_dirs_find(&w->dirs, e->wd);
    if (dir == NULL)
        return; /* left over from a directory that is not watched any more */
    if (e->len == 0) {
        if (e->wd == w->root_wd)
            on_root(w, e->mask);
        if ((e->mask & IN_IGNORED) != 0)
            watch_dirs_remove(&w->dirs, e->wd);
        return; /* of other directories their parents tell */
    }
    int n = snprintf(path, sizeof(path), "%s%s%s", dir, dir[0] != '\0' ? "/" : "", e->name);
    if (n < 0 || (size_t)n >= sizeof(path))
        watch_tell_gap(w, WATCH_GAP_LIMIT); /* a path that no call can name */
    else
        on_entry(w, e, path);
}

void watch_read(struct watch *w)
{
    _Alignas(struct inotify_event) char buffer[READ_SIZE];
    ssize_t n = read(w->fd, buffer, sizeof(buffer));

    for (ssize_t at = 0; at < n && w->root_wd >= 0;) {
        const struct inotify_event *e = (const void *)(buffer + at);
        on_event(w, e);
        at += (ssize_t)(sizeof(*e) + e->len);
    }
}
