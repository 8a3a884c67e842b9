#include "execd/runcode/runcode.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <utlist.h>

#include "execd/files/remove.h"
#include "execd/proc/environment.h"
#include "execd/runcode/box.h"
#include "execd/runcode/step.h"
#include "proto/api/errors.h"
#include "proto/base/log.h"
#include "proto/base/mem.h"

#define REMOVE_TRIES 40
#define REMOVE_AGAIN_MS 50
#define REMOVE_AT_END_MS 500

/*
 *   WRITE ──► COMPILE ──► RUN ──► FETCH ──► ANSWER ──► REMOVE ──► (freed)
 *     │          └─ failed ─────────────────►▲            ▲
 *     └─ failed, or no such program ────────►┘            │
 *   the asker leaves: what goes on comes to its end, then ┘
 *
 * Each state waits for one thing: a row of file operations, a command, or (ANSWER) just for its turn of the loop.
 * Callbacks note what happened and post `turn`, which alone moves on.
 */
enum state { STATE_WRITE, STATE_COMPILE, STATE_RUN, STATE_FETCH, STATE_ANSWER, STATE_REMOVE };

struct runcode {
    struct runcode_manager *manager; /* borrowed */
    struct arena arena;              /* of everything small */
    enum state state;
    struct event *turn; /* owned */
    runcode_fn on_done;
    void *arg;
    bool gone; /* nobody waits */
    const struct language *language;
    const char *dir;      /* NULL: none was made */
    char *input;          /* owned */
    struct file_job *job; /* owned */
    struct step_run command;
    int64_t compile_ms, run_ms;
    uint64_t memory_bytes;
    bool keep_processes;
    struct jstrings fetch;
    struct runcode_step compile, run;
    const char *problem;
    bool failed;
    struct err err; /* when failed */
    struct runcode_file *files;
    size_t n_files;
    unsigned removals;
    struct runcode *prev, *next;
};

struct runcode_manager {
    struct event_base *base;          /* borrowed */
    struct command_manager *commands; /* borrowed */
    struct work_pool *pool;           /* borrowed */
    struct runcode *runs;             /* utlist DL; owned */
    unsigned n_runs;
};

int runcode_manager_new(struct command_manager *commands, struct work_pool *pool,
                        struct event_base *base, struct runcode_manager **ret_manager)
{
    struct runcode_manager *m = xnew(struct runcode_manager);

    *m = (struct runcode_manager){.base = base, .commands = commands, .pool = pool};
    *ret_manager = m;
    return 0;
}

static void step_free(struct runcode_step *step)
{
    for (unsigned i = 0; i < 2; i++)
        strbuf_done(&step->output[i]);
}

static void run_free(struct runcode *r)
{
    // NOLINTNEXTLINE(clang-analyzer-core.NullDereference): what is listed has a predecessor
    DL_DELETE(r->manager->runs, r);
    r->manager->n_runs--;
    step_done(&r->command);
    file_job_free(r->job);
    if (r->turn != NULL)
        event_free(r->turn);
    step_free(&r->compile);
    step_free(&r->run);
    free(r->input);
    arena_done(&r->arena);
    free(r);
}

void runcode_manager_free(struct runcode_manager *m)
{
    if (m == NULL)
        return;
    while (m->runs != NULL) {
        if (m->runs->dir != NULL)
            box_remove_now(m->runs->dir, REMOVE_AT_END_MS);
        run_free(m->runs);
    }
    free(m);
}

static void post(struct runcode *r, enum state next, int delay_ms)
{
    struct timeval tv = {.tv_usec = delay_ms * 1000};

    r->state = next;
    if (delay_ms == 0 || event_add(r->turn, &tv) < 0)
        event_active(r->turn, EV_TIMEOUT, 0);
}

static void fail(struct runcode *r, const struct err *err)
{
    r->failed = true;
    r->err = *err;
    post(r, STATE_ANSWER, 0);
}

/* ---- file operations ---- */

static void start_job(struct runcode *r, void (*on_done)(void *, const struct err *))
{
    struct err err = {0};

    if (file_job_start(r->job, r->manager->pool, on_done, r, &err) < 0)
        on_done(r, &err);
}

static void on_written(void *arg, const struct err *err)
{
    struct runcode *r = arg;

    if (err != NULL)
        fail(r, err);
    else
        post(r, r->language->compile[0] != NULL ? STATE_COMPILE : STATE_RUN, 0);
    file_job_free(take_ptr(&r->job)); /* last: err is part of it */
}

static void take_files(struct runcode *r)
{
    for (size_t i = 0; i < file_job_count(r->job); i++) {
        const struct box_read *item = file_job_item(r->job, i);
        if (item->too_large)
            r->problem = arena_printf(&r->arena, "fetch_files: '%.200s' is too large and left out",
                                      item->path);
        if (item->base64 != NULL)
            r->files[r->n_files++] = (struct runcode_file){item->path, item->base64};
    }
}

/* The job stays until the answer: it owns the content. */
static void on_fetched(void *arg, const struct err *err)
{
    struct runcode *r = arg;

    if (err != NULL) {
        fail(r, err);
        return;
    }
    take_files(r);
    post(r, STATE_ANSWER, 0);
}

static void fetch(struct runcode *r)
{
    struct err err = {0};

    r->job = file_job_new(&box_read_op);
    r->files = arena_alloc(&r->arena, r->fetch.n * sizeof(*r->files));
    struct arena *arena = file_job_arena(r->job);
    size_t *left = arena_alloc(arena, sizeof(*left));
    if (left != NULL)
        *left = BOX_FETCH_TOTAL_MAX;
    for (size_t i = 0; i < r->fetch.n; i++) {
        struct box_read *item = file_job_add(r->job, &err);
        if (r->files == NULL || item == NULL || (item->left = left) == NULL ||
            (item->box = arena_strndup(arena, r->dir, strlen(r->dir))) == NULL ||
            (item->path = arena_strndup(arena, r->fetch.items[i], strlen(r->fetch.items[i]))) ==
                NULL) {
            (void)err_set(&err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory to fetch the files");
            fail(r, &err);
            return;
        }
    }
    start_job(r, on_fetched);
}

/* What a killed process still wrote meanwhile is taken in another round. */
static void on_removed(void *arg, const struct err *err)
{
    struct runcode *r = arg;

    if (err != NULL && ++r->removals < REMOVE_TRIES) {
        post(r, STATE_REMOVE, REMOVE_AGAIN_MS);
        return;
    }
    if (err != NULL)
        log_event(LOG_LEVEL_WARN, "runcode", "the folder of a run stays", "folder", r->dir, "error",
                  err->text, NULL);
    run_free(r);
}

static void remove_box(struct runcode *r)
{
    struct err err = {0};

    file_job_free(take_ptr(&r->job));
    if (r->dir == NULL) {
        run_free(r);
        return;
    }
    r->job = file_job_new(&remove_op);
    struct remove_item *item = file_job_add(r->job, &err);
    const char *path = arena_strndup(file_job_arena(r->job), r->dir, strlen(r->dir));
    if (item == NULL || path == NULL) {
        on_removed(r, &err);
        return;
    }
    *item = (struct remove_item){.path = path, .tree = true};
    start_job(r, on_removed);
}

/* ---- commands ---- */

static void on_step_end(void *arg)
{
    struct runcode *r = arg;
    const struct runcode_step *step = r->command.step;
    bool compiled = r->state == STATE_COMPILE && step->end == RUNCODE_FINISHED && step->code == 0;

    post(r, r->gone ? STATE_REMOVE : compiled ? STATE_RUN : STATE_FETCH, 0);
}

static void limit_memory(const struct runcode *r, struct policy *policy)
{
    *policy = (struct policy){.given = r->memory_bytes != 0};
    if (!policy->given)
        return;
    policy->rlimits[policy->n_rlimits++] = (struct policy_rlimit){
        .resource = RLIMIT_AS, .limit = {.rlim_cur = r->memory_bytes, .rlim_max = r->memory_bytes}};
}

static void start_step(struct runcode *r, const char *const *words, bool is_run)
{
    struct command_request request = {
        .cwd = r->dir,
        .timeout_ms = is_run ? r->run_ms : r->compile_ms,
        .stdin_text = is_run ? r->input : NULL,
        .stdin_len = is_run && r->input != NULL ? strlen(r->input) : 0,
        .sweep = !r->keep_processes,
    };
    struct policy policy;
    struct err err = {0};

    if (is_run) {
        limit_memory(r, &policy);
        request.policy = &policy;
    }
    request.argv.items = (const char **)words;
    while (words[request.argv.n] != NULL)
        request.argv.n++;
    step_done(&r->command);
    r->command.step = is_run ? &r->run : &r->compile;
    if (step_start(&r->command, &request, &err) < 0)
        fail(r, &err);
}

/* ---- the way through ---- */

static void answer(struct runcode *r)
{
    const struct runcode_result result = {.compile = &r->compile,
                                          .run = &r->run,
                                          .problem = r->problem,
                                          .files = r->files,
                                          .n_files = r->n_files};

    r->gone = true;
    r->on_done(r->arg, r->failed ? NULL : &result, r->failed ? &r->err : NULL);
    post(r, STATE_REMOVE, 0);
}

static void on_turn(evutil_socket_t fd, short what, void *arg)
{
    struct runcode *r = arg;
    enum state state = r->gone ? STATE_REMOVE : r->state;

    (void)fd;
    (void)what;
    if (state == STATE_FETCH && (r->fetch.n == 0 || r->run.end == RUNCODE_NOT_RUN))
        state = STATE_ANSWER;
    r->state = state;
    if (state == STATE_COMPILE)
        start_step(r, r->language->compile, false);
    else if (state == STATE_RUN)
        start_step(r, r->language->run, true);
    else if (state == STATE_FETCH)
        fetch(r);
    else if (state == STATE_ANSWER)
        answer(r);
    else if (state == STATE_REMOVE)
        remove_box(r);
}

/* While a command runs or the pool works, their ends lead to the removal. */
void runcode_cancel(struct runcode *r)
{
    r->gone = true;
    step_interrupt(&r->command);
}

/* ---- the beginning ---- */

static int add_file(struct runcode *r, const char *path, const char *text, bool base64,
                    struct err *err)
{
    struct arena *arena = file_job_arena(r->job);
    struct box_write *item = file_job_add(r->job, err);

    if (item == NULL)
        return -ENOMEM;
    *item = (struct box_write){.len = strlen(text), .base64 = base64};
    item->box = arena_strndup(arena, r->dir, strlen(r->dir));
    item->text = arena_strndup(arena, text, item->len);
    if (item->box == NULL || item->text == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the files of the run");
    return box_path(path, arena, &item->path, err);
}

static int add_files(struct runcode *r, const struct runcode_request *request, struct err *err)
{
    const char *path;
    json_t *text;

    int rc = 0;
    json_object_foreach(request->files, path, text)
    {
        if (rc == 0 && json_is_string(text))
            rc = add_file(r, path, json_string_value(text), true, err);
    }
    /* Last: a file of the request that bears the same name is not what was asked to run. */
    return rc < 0 ? rc : add_file(r, r->language->file, request->code, false, err);
}

static int take_fetch(struct runcode *r, const struct jstrings *wanted, struct err *err)
{
    r->fetch.items = arena_alloc(&r->arena, wanted->n * sizeof(*r->fetch.items));
    if (r->fetch.items == NULL)
        return err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the run");
    for (; r->fetch.n < wanted->n; r->fetch.n++) {
        int rc = box_path(wanted->items[r->fetch.n], &r->arena, &r->fetch.items[r->fetch.n], err);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* *ret_language NULL: nothing here runs it, and r->problem says what is missing. */
static int choose_language(struct runcode *r, const struct runcode_request *request,
                           const char *const *envp, struct err *err)
{
    const char *missing;

    r->language = language_find(request->language, envp, &r->arena, &missing);
    if (r->language == NULL && missing == NULL)
        return err_set(err, ERR_INVALID_REQUEST_BODY, EINVAL, "language: '%.40s' is none of %s",
                       request->language, language_names(&r->arena));
    if (r->language == NULL) {
        r->problem = arena_printf(&r->arena,
                                  "language '%.40s': the sandbox has no '%s' in its PATH; install "
                                  "it, or use an image that has it",
                                  request->language, missing);
        return 0;
    }
    if (request->memory_bytes != 0 && r->language->wide)
        return err_set(err, ERR_POLICY_UNSUPPORTED, EOPNOTSUPP,
                       "memory_limit_MB: cannot be applied to '%s', whose runtime reserves more "
                       "address space than it uses",
                       r->language->name);
    return 0;
}

static int begin(struct runcode *r, const struct runcode_request *request, struct err *err)
{
    const char *const *envp;

    int rc = environment_build(&r->arena, NULL, &envp, err);
    if (rc == 0)
        rc = choose_language(r, request, envp, err);
    if (rc == 0)
        rc = take_fetch(r, &request->fetch, err);
    if (rc < 0 || r->language == NULL)
        return rc;
    rc = box_make(envp, &r->arena, &r->dir, err);
    if (rc < 0)
        return rc;
    r->job = file_job_new(&box_write_op);
    return add_files(r, request, err);
}

static struct runcode *run_new(struct runcode_manager *m, const struct runcode_request *request,
                               runcode_fn on_done, void *arg)
{
    struct runcode *r = xnew(struct runcode);

    r->manager = m;
    arena_init(&r->arena);
    r->on_done = on_done;
    r->arg = arg;
    r->compile_ms = request->compile_ms;
    r->run_ms = request->run_ms;
    r->memory_bytes = request->memory_bytes;
    r->keep_processes = request->keep_processes;
    r->command = (struct step_run){.commands = m->commands, .on_end = on_step_end, .arg = r};
    r->turn = event_new(m->base, -1, 0, on_turn, r);
    r->input = request->input != NULL ? strdup(request->input) : NULL;
    DL_APPEND(m->runs, r);
    m->n_runs++;
    return r;
}

int runcode_start(struct runcode_manager *m, const struct runcode_request *request,
                  runcode_fn on_done, void *arg, struct runcode **ret_run, struct err *err)
{
    if (m->n_runs >= RUNCODE_RUNS_MAX)
        return err_set(err, ERR_TOO_MANY_COMMANDS, EAGAIN,
                       "%d programs are being run, which is the limit", RUNCODE_RUNS_MAX);
    struct runcode *r = run_new(m, request, on_done, arg);
    int rc = r->turn == NULL || (request->input != NULL && r->input == NULL)
                 ? err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the run")
                 : begin(r, request, err);
    if (rc < 0) {
        if (r->dir != NULL)
            box_remove_now(r->dir, REMOVE_AT_END_MS); /* nothing is in it yet */
        run_free(r);
        return rc;
    }
    *ret_run = r;
    if (r->language == NULL)
        post(r, STATE_ANSWER, 0);
    else
        start_job(r, on_written);
    return 0;
}
