#include "execd/files/search.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "execd/files/facts.h"
#include "execd/files/place.h"
#include "execd/files/walk.h"
#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/glob.h"
#include "proto/base/mem.h"
#include "proto/base/path.h"
#include "proto/base/work.h"

#define STEP_MS 20
#define ENTRY_MAX (64 * 1024) /* JSON of one entry: a path of 4 KiB, each byte six, and the rest */

/*
 * While `running`, everything but the two flags `running` and `gone` belongs to the pool's thread.
 *
 *   idle → search_step → running → on_piece → idle → ...; search_free while running: gone, freed by the loop after it
 */
struct search {
    char *root;        /* owned */
    struct glob *glob; /* owned; NULL: a list of everything down to `depth` levels */
    int64_t depth;
    struct work_pool *pool; /* borrowed */
    struct walk *walk;      /* NULL before the first step */
    struct owner_names names;
    struct walk_entry entry; /* being looked at */
    struct file_facts facts; /* of it */
    bool wants_names; /* facts' owner is unknown: the loop looks it up, then the entry is written */
    struct strbuf json;
    bool any; /* something was found */
    bool ended, cut;
    uint64_t n_entries;
    int64_t worked_ms;
    struct err err;
    bool failed;
    bool running, gone;
    void (*on_piece)(void *arg, const struct search_piece *piece);
    void *arg;
};

static unsigned n_searches;

static int check_room(struct err *err)
{
    if (n_searches < SEARCHES_MAX)
        return 0;
    return err_set(err, ERR_OVERLOADED, EAGAIN, "more than %d searches at once", SEARCHES_MAX);
}

/* Takes the glob. */
static struct search *create(const char *root, struct glob *glob, struct work_pool *pool)
{
    struct search *s = xnew(struct search);

    s->glob = glob;
    s->root = xstrdup(root);
    s->pool = pool;
    strbuf_init(&s->json, SEARCH_PIECE + ENTRY_MAX);
    n_searches++;
    return s;
}

int search_new_list(const char *root, int64_t depth, struct work_pool *pool,
                    struct search **ret_search, struct err *err)
{
    int rc = check_room(err);
    if (rc < 0)
        return rc;
    *ret_search = create(root, NULL, pool);
    (*ret_search)->depth = depth;
    return 0;
}

int search_new(const char *root, const char *pattern, struct work_pool *pool,
               struct search **ret_search, struct err *err)
{
    struct glob *glob;

    int rc = check_room(err);
    if (rc < 0)
        return rc;
    rc = glob_new(pattern, &glob, err);
    if (rc < 0) {
        err->code = rc == -ENOMEM ? ERR_OUT_OF_MEMORY : ERR_INVALID_QUERY;
        return rc;
    }
    *ret_search = create(root, glob, pool);
    return 0;
}

static void destroy(struct search *s)
{
    walk_free(s->walk);
    glob_free(s->glob);
    strbuf_done(&s->json);
    free(s->root);
    free(s);
    n_searches--;
}

void search_free(struct search *s)
{
    if (s == NULL)
        return;
    s->gone = true;
    if (!s->running)
        destroy(s);
}

/* ---- in the pool ---- */

static void fail(struct search *s, int errnum)
{
    bool missing = place_is_missing(errnum);

    (void)err_sys(&s->err, missing ? ERR_FILE_NOT_FOUND : ERR_FILE_ACCESS, errnum,
                  missing ? "file not found. '%s'" : "error accessing file: '%s'", s->root);
    s->failed = s->ended = true;
}

/* Where the names of the owner are known; otherwise the step ends and comes back with them. */
static void write_entry(struct search *s)
{
    const char *owner = owner_names_user(&s->names, s->facts.uid);
    const char *group = owner_names_group(&s->names, s->facts.gid);
    bool at_root = strcmp(s->root, "/") == 0, is_root = s->entry.path[0] == '\0';
    char path[2 * 4096 + 2];

    s->wants_names = owner == NULL || group == NULL;
    if (s->wants_names)
        return;
    (void)snprintf(path, sizeof(path), "%s%s%s", at_root ? "" : s->root, is_root ? "" : "/",
                   s->entry.path); /* both are below PATH_MAX */
    if (s->any)
        strbuf_addc(&s->json, ',');
    s->any = true;
    file_facts_json(&s->json, path, &s->facts, owner, group);
}

static int64_t depth_of(const char *path)
{
    int64_t depth = 1;

    for (; (path = strchr(path, '/')) != NULL; path++)
        depth++;
    return depth;
}

static void list(struct search *s)
{
    if (s->entry.type == DT_DIR && depth_of(s->entry.path) >= s->depth)
        walk_skip(s->walk);
    if (file_facts_at(s->entry.dir_fd, s->entry.name, &s->facts) == 0) /* else it has vanished */
        write_entry(s);
}

static void look_at(struct search *s)
{
    const char *text = glob_has_slash(s->glob) ? s->entry.path : s->entry.name;

    if (s->entry.type == DT_DIR || !glob_match(s->glob, text))
        return;
    if (file_facts_at(s->entry.dir_fd, s->entry.name, &s->facts) < 0)
        return; /* it has vanished */
    if (!S_ISDIR(s->facts.mode))
        write_entry(s);
}

/* The root itself, when it is no directory. */
static void look_at_file(struct search *s)
{
    struct stat st;

    s->ended = true;
    if (stat(s->root, &st) < 0) {
        fail(s, errno);
        return;
    }
    if (!glob_match(s->glob, path_basename(s->root)))
        return;
    s->entry = (struct walk_entry){.path = "", .name = s->root, .dir_fd = AT_FDCWD};
    int rc = file_facts_at(AT_FDCWD, s->root, &s->facts);
    if (rc < 0)
        fail(s, -rc);
    else
        write_entry(s);
}

/* A link or a file is not listed (contracts/execd.md 1.9). */
static void check_folder(struct search *s)
{
    struct stat st;

    if (lstat(s->root, &st) < 0) {
        fail(s, errno);
        return;
    }
    s->ended = s->depth == 0;
    if (S_ISDIR(st.st_mode))
        return;
    (void)err_set(&s->err, ERR_INVALID_PATH, ENOTDIR,
                  S_ISLNK(st.st_mode) ? "path is a symbolic link: %s"
                                      : "path is not a directory: %s",
                  s->root);
    s->failed = s->ended = true;
}

static void open_root(struct search *s)
{
    if (s->glob == NULL)
        check_folder(s);
    if (s->ended)
        return;
    int rc = walk_new(s->root, &s->walk);
    if (rc == -ENOTDIR && s->glob != NULL)
        look_at_file(s);
    else if (rc < 0)
        fail(s, -rc);
}

static void walk_on(struct search *s)
{
    switch (walk_next(s->walk, &s->entry)) {
    case WALK_ENTRY:
        if (++s->n_entries > SEARCH_ENTRIES_MAX)
            s->cut = s->ended = true;
        else if (s->glob == NULL)
            list(s);
        else
            look_at(s);
        break;
    case WALK_WORKING:
        break;
    case WALK_END:
        s->cut = walk_is_cut(s->walk);
        s->ended = true;
        break;
    }
}

static void work(void *arg)
{
    struct search *s = arg;
    int64_t start_ms = clock_monotonic_ms(), now_ms = start_ms;

    if (s->wants_names)
        write_entry(s);
    else if (s->walk == NULL)
        open_root(s);
    while (!s->ended && !s->wants_names && s->json.len < SEARCH_PIECE &&
           now_ms < start_ms + STEP_MS) {
        walk_on(s);
        now_ms = clock_monotonic_ms();
    }
    s->worked_ms += now_ms - start_ms;
    if (!s->ended && s->worked_ms > SEARCH_WORK_MS)
        s->cut = s->ended = true;
    bool lacks_memory =
        strbuf_check(&s->json) < 0 || (s->walk != NULL && walk_lacks_memory(s->walk));
    if (lacks_memory && !s->failed) {
        (void)err_set(&s->err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the search");
        s->failed = s->ended = true;
    }
}

/* ---- on the loop ---- */

static void on_worked(void *arg);

static int post(struct search *s)
{
    int rc = work_post(s->pool, work, on_worked, s);

    s->running = rc == 0;
    if (rc < 0)
        (void)err_set(&s->err, ERR_OVERLOADED, EAGAIN, "too many file operations at once");
    return rc;
}

/* A step that found too little, or stopped for a name, goes on by itself. */
static bool goes_on(struct search *s)
{
    if (s->wants_names)
        owner_names_learn(&s->names, s->facts.uid, s->facts.gid);
    else if (s->ended || s->json.len >= SEARCH_PIECE)
        return false;
    bool posted = post(s) == 0; /* then everything else is the pool's */
    if (!posted)
        s->failed = true;
    return posted;
}

static void on_worked(void *arg)
{
    struct search *s = arg;

    s->running = false;
    if (s->gone) {
        destroy(s);
        return;
    }
    if (goes_on(s))
        return;
    struct search_piece piece = {.json = {s->json.data, s->json.len},
                                 .last = s->ended || s->failed,
                                 .cut = s->cut,
                                 .err = s->failed ? &s->err : NULL};
    s->on_piece(s->arg, &piece);
}

int search_step(struct search *s, void (*on_piece)(void *, const struct search_piece *), void *arg,
                struct err *err)
{
    s->on_piece = on_piece;
    s->arg = arg;
    strbuf_reset(&s->json);
    int rc = post(s);
    if (rc < 0)
        *err = s->err;
    return rc;
}
