#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "proto/api/errors.h"
#include "proto/base/fd.h"
#include "proto/base/log.h"
#include "proto/base/str.h"
#include "proto/http/client.h"
#include "server/runtime/native/native_priv.h"
#include "server/runtime/native/setup.h"

#define PING_BODY_MAX 4096
/* An execd that ends lets its socket go first, then everybody in its pid namespace dies, then its end is seen. */
#define END_MS 1000
#define LOG_TAIL 160

/* A start under way. States, each left by exactly one event:
 *
 *   prepare ──clone──► set-up ──report pipe closes──► execd ──GET /ping 200──► running
 *      │                 │ report, exit                  │ exit, time over, connection lost and END_MS without an exit
 *      └─────────────────┴───────────────────────────────┴──► cleaning up ──► answered with the error
 *
 * The ping is sent at once: its connection waits in the listener's queue until execd accepts, so nothing is polled. */
struct start {
    struct box *box; /* borrowed */
    runtime_done_fn done;
    void *arg;
    struct plan plan;
    struct arena arena;      /* plan and image */
    struct cgroup_dirs dirs; /* owned until the clone */
    struct setup_process process;
    struct event *report_event; /* owned */
    struct http_call *call;     /* owned */
    struct event *end_timer;    /* owned; the connection is lost: the end of execd is awaited */
    const char *state_text;
    struct err err;  /* the first failure */
    struct err ping; /* what the ping met */
};

static void release(struct start *s)
{
    if (s->report_event != NULL)
        event_free(s->report_event);
    s->report_event = NULL;
    http_call_cancel(s->call);
    s->call = NULL;
    if (s->end_timer != NULL)
        event_free(s->end_timer);
    s->end_timer = NULL;
    plan_done(&s->plan);
    cgroup_dirs_done(&s->dirs);
    setup_process_done(&s->process);
}

static void free_start(struct start *s)
{
    s->box->start = NULL;
    release(s);
    arena_done(&s->arena);
    free(s);
}

void start_abort(struct box *box)
{
    free_start(box->start);
}

/* --- failure --- */

static void on_cleaned(void *arg, const struct err *err, const char *data)
{
    struct start *s = arg;

    (void)data;
    if (err != NULL) /* the next start of the server sees what is left */
        log_event(LOG_LEVEL_DEBUG, "native", "a failed start left something behind", "error",
                  err->text, NULL);
    runtime_done_fn done = s->done;
    void *done_arg = s->arg;
    struct err first = s->err;
    arena_done(&s->arena);
    free(s);
    done(done_arg, &first, NULL);
}

/* The last line that execd wrote says more than its exit code. */
static void add_log_tail(struct start *s)
{
    struct native *n = s->box->native;
    char path[96], tail[LOG_TAIL + 1];
    struct stat st;

    snprintf(path, sizeof(path), "%s/" FOLDER_LOG, s->box->id);
    cleanup_fd int fd = openat(n->sandboxes_fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size == 0)
        return;
    ssize_t len = pread(fd, tail, LOG_TAIL, MAX(st.st_size - LOG_TAIL, 0));
    if (len <= 0)
        return;
    tail[len] = '\0';
    if (tail[len - 1] == '\n')
        tail[len - 1] = '\0';
    const char *line = strrchr(tail, '\n');
    size_t used = strlen(s->err.text);
    snprintf(s->err.text + used, sizeof(s->err.text) - used, "; its last words: %s",
             line != NULL ? line + 1 : tail);
}

/* Everything made so far goes, then the caller hears s->err. */
static void give_up(struct start *s)
{
    struct box *box = s->box;

    release(s);
    box->start = NULL;
    removal_begin(box, on_cleaned, s);
}

/* The child's own report is the best reason, then its end, then what the ping met. */
static void fail_with_reason(struct start *s)
{
    struct err report = {0};

    if (s->process.report_fd >= 0 && setup_result(&s->process, &report) < 0) {
        s->err = report;
    } else if (s->box->dead) {
        const struct runtime_exit *exit = &s->box->exit;
        (void)err_set(&s->err, ERR_SANDBOX_EXECD_START_FAILED, ECHILD,
                      "execd ended while starting (%s %d%s)",
                      exit->signalled ? "signal" : "exit code", exit->code,
                      exit->oom ? ", out of memory" : "");
        add_log_tail(s);
    } else {
        (void)err_set(&s->err, ERR_SANDBOX_EXECD_START_FAILED, ETIMEDOUT,
                      "execd does not answer: %s", s->ping.text);
        add_log_tail(s);
    }
    give_up(s);
}

void start_on_exit(struct box *box)
{
    fail_with_reason(box->start);
}

/* --- progress --- */

static void on_report(evutil_socket_t fd, short what, void *arg)
{
    struct start *s = arg;

    (void)fd;
    (void)what;
    int rc = setup_result(&s->process, &s->err);
    if (rc == 0)
        return;
    if (rc < 0) {
        give_up(s);
        return;
    }
    event_free(s->report_event);
    s->report_event = NULL;
    close(s->process.report_fd);
    s->process.report_fd = -1;
}

static void on_no_end(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    fail_with_reason(arg);
}

/* False: no memory to wait. */
static bool await_end(struct start *s)
{
    static const struct timeval tv = {.tv_sec = END_MS / 1000};

    s->end_timer = evtimer_new(s->box->native->rt.base, on_no_end, s);
    return s->end_timer != NULL && event_add(s->end_timer, &tv) == 0;
}

static void on_ping(void *arg, int status, struct slice body, const struct err *err)
{
    struct start *s = arg;

    (void)body;
    s->call = NULL; /* frees itself */
    if (status != 200) {
        if (status != 0)
            (void)err_set(&s->ping, 0, EPROTO, "/ping answered %d", status);
        else
            s->ping = *err;
        bool was_lost = status == 0 && err->code != ERR_BACKEND_TIMEOUT;
        if (!was_lost || !await_end(s))
            fail_with_reason(s);
        return;
    }
    runtime_done_fn done = s->done;
    void *done_arg = s->arg;
    struct box *box = s->box;
    const char *data = arena_strndup(&box->arena, s->state_text, strlen(s->state_text));
    free_start(s);
    done(done_arg, NULL, data);
}

static int watch(struct start *s)
{
    struct native *n = s->box->native;
    char path[128];

    int rc = box_watch(s->box, &s->err);
    if (rc < 0)
        return rc;
    s->report_event =
        event_new(n->rt.base, s->process.report_fd, EV_READ | EV_PERSIST, on_report, s);
    if (s->report_event == NULL || event_add(s->report_event, NULL) < 0)
        return err_set(&s->err, 0, ENOMEM, "no memory to watch the set-up");
    rc = folder_socket_path(n->sandboxes_fd, s->box->id, path, sizeof(path));
    if (rc == 0) {
        struct relay_target target = {.unix_path = path};
        rc = http_call_start(n->rt.base, &target, "GET", "/ping", NULL, (struct slice){0},
                             PING_BODY_MAX, n->config.start_ms, on_ping, s, &s->call);
    }
    return rc < 0 ? err_sys(&s->err, 0, -rc, "ping execd") : 0;
}

/* --- preparation --- */

static int keep(struct plan *plan, int fd)
{
    if (fd < 0)
        return fd;
    if (plan->n_keep == PLAN_KEEP_MAX) {
        close(fd);
        return -EMFILE;
    }
    plan->keep[plan->n_keep++] = fd;
    return fd;
}

static bool is_same_dir(int a, int b)
{
    struct stat one, two;

    return fstat(a, &one) == 0 && fstat(b, &two) == 0 && one.st_dev == two.st_dev &&
           one.st_ino == two.st_ino;
}

/* The descriptor that an earlier controller with the same directory got; -1 = none. */
static int handed_before(const struct cgroup_dirs *dirs, size_t c, const int handed[])
{
    for (size_t i = 0; i < c; i++) {
        if (dirs->fd[i] >= 0 && is_same_dir(dirs->fd[i], dirs->fd[c]))
            return handed[i];
    }
    return -1;
}

static int open_join(struct start *s, size_t c)
{
    int fd = openat(s->dirs.fd[c], "tasks", O_WRONLY | O_CLOEXEC);

    if (fd < 0 || s->plan.n_joins == PLAN_JOINS_MAX)
        return fd < 0 ? -errno : -EMFILE;
    s->plan.joins[s->plan.n_joins++] = fd;
    return 0;
}

/* A cgroup2 group without controllers, beside v1 hierarchies, limits and counts nothing. To execd it would only
 * mean one more move per command, and a move in cgroup2 waits for a lock over all forks of the machine (6 to 19 ms,
 * measured on 6.18; v1's `tasks` takes 15 us). The sandbox is born in it, so that it can be killed by it. */
static bool is_handed(const struct cgroup_dirs *dirs, size_t c)
{
    if (dirs->fd[c] < 0 || c != CGROUP_UNIFIED)
        return dirs->fd[c] >= 0;
    for (size_t i = 0; i < CGROUP_UNIFIED; i++) {
        if (dirs->fd[i] >= 0 && !dirs->v2[i])
            return false;
    }
    return true;
}

/* Each directory once as a descriptor for execd, named by controller, and each v1 one as a group to join. */
static int hand_groups(struct start *s, struct strbuf *names, struct err *err)
{
    const struct cgroup_dirs *dirs = &s->dirs;
    int handed[CGROUP_CONTROLLER_MAX], rc = 0;

    for (size_t c = 0; c < CGROUP_CONTROLLER_MAX && rc >= 0; c++) {
        if (!is_handed(dirs, c))
            continue;
        handed[c] = handed_before(dirs, c, handed);
        if (handed[c] < 0) {
            handed[c] = rc = keep(&s->plan, trees_clone_dir(dirs->fd[c]));
            if (rc >= 0 && !dirs->v2[c])
                rc = open_join(s, c);
        }
        strbuf_addf(names, "%s%s:%d%s", names->len > 0 ? "," : "",
                    c == CGROUP_UNIFIED ? "unified"
                                        : cgroup_controller_name((enum cgroup_controller)c),
                    handed[c], dirs->v2[c] ? "+v2" : "");
    }
    if (rc >= 0)
        rc = strbuf_check(names);
    return rc < 0 ? err_sys(err, ERR_SANDBOX_START_FAILED, -rc, "hand the control groups over") : 0;
}

static int prepare_groups(struct start *s, const struct sandbox_spec *spec, struct strbuf *names)
{
    struct native *n = s->box->native;
    struct group_limits limits = {
        .memory_bytes = spec->memory_bytes, .millicpu = spec->millicpu, .pids = spec->pids};
    char name[80];

    /* A default is not a promise: it is left out where pids cannot be counted. */
    if (limits.pids == 0 && n->groups.parent.fd[CGROUP_PIDS] >= 0)
        limits.pids = n->config.default_pids;
    native_group_name(n, s->box->id, name, sizeof(name));
    if (groups_paths(&n->groups, name, &s->box->arena, &s->box->groups) < 0)
        return err_set(&s->err, ERR_OUT_OF_MEMORY, ENOMEM,
                       "no memory for the names of the control groups");
    int rc = groups_make(&n->groups, name, &limits, n->config.uid_base, &s->dirs, &s->err);
    return rc < 0 ? rc : hand_groups(s, names, &s->err);
}

static int prepare_folder(struct start *s, const struct image *image)
{
    struct native *n = s->box->native;
    cleanup_fd int fs = -1;

    int rc =
        folder_make(n->sandboxes_fd, s->box->id, image->rootfs, n->config.uid_base, &fs, &s->err);
    if (rc == 0)
        rc = trees_prepare(&n->trees, image->rootfs, fs, &s->plan, &s->err);
    if (rc < 0)
        return rc;
    s->plan.log_fd = folder_open_log(n->sandboxes_fd, s->box->id);
    return s->plan.log_fd < 0
               ? err_sys(&s->err, ERR_SANDBOX_START_FAILED, -s->plan.log_fd, "open the log")
               : 0;
}

static int prepare_plan(struct start *s, const struct runtime_start *req, const struct image *image)
{
    struct native *n = s->box->native;
    cleanup_strbuf struct strbuf names;

    strbuf_init(&names, 1024);
    int rc = prepare_groups(s, &req->sandbox->spec, &names);
    if (rc < 0)
        return rc;
    int listen_fd = keep(&s->plan, folder_listen(n->sandboxes_fd, s->box->id, &s->err));
    if (listen_fd < 0)
        return listen_fd;
    s->plan.seccomp = &n->seccomp[plan_wants_isolation(&req->sandbox->spec)];
    struct plan_input input = {.id = s->box->id,
                               .token_sha256 = req->token_sha256,
                               .image = image,
                               .spec = &req->sandbox->spec,
                               .tmp_bytes = n->config.tmp_bytes,
                               .cgroup_fds = names.len > 0 ? names.data : NULL,
                               .listen_fd = listen_fd};
    rc = plan_build(&s->plan, &input, &s->arena, &s->err);
    return rc < 0 ? rc : plan_validate(&s->plan, &s->err);
}

/* The state is on disk before the process may do anything: a server that dies now finds what to clean up. */
static int launch(struct start *s)
{
    struct native *n = s->box->native;
    struct box *box = s->box;
    struct setup_maps maps = {.uid_base = n->config.uid_base,
                              .uid_count = n->config.uid_count,
                              .cgroup2_fd = s->dirs.fd[CGROUP_UNIFIED]};

    int rc = setup_clone(&s->plan, &maps, &s->process, &s->err);
    if (rc < 0)
        return rc;
    box->pid = s->process.pid;
    box->pidfd = take_fd(&s->process.pidfd);
    box->is_child = true;
    struct folder_state state = {.pid = box->pid,
                                 .start_time = folder_process_start(box->pid),
                                 .boot_id = n->boot_id,
                                 .groups = box->groups};
    s->state_text = folder_state_text(&state, &s->arena);
    if (s->state_text == NULL)
        return err_set(&s->err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the state");
    rc = folder_write_state(n->sandboxes_fd, box->id, s->state_text);
    if (rc < 0)
        return err_sys(&s->err, ERR_SANDBOX_START_FAILED, -rc, "write the state of sandbox %s",
                       box->id);
    rc = watch(s);
    if (rc == 0 && (rc = setup_go(&s->process)) < 0)
        (void)err_sys(&s->err, ERR_SANDBOX_START_FAILED, -rc, "wake the set-up process");
    plan_done(&s->plan);
    cgroup_dirs_done(&s->dirs);
    return rc;
}

static int prepare_and_launch(struct start *s, const struct runtime_start *req)
{
    struct native *n = s->box->native;
    struct image image;

    int rc = images_find(n->images_dir,
                         req->sandbox->image_digest != NULL ? req->sandbox->image_digest
                                                            : req->sandbox->spec.image,
                         &s->arena, &image, &s->err);
    if (rc == 0)
        rc = prepare_folder(s, &image);
    if (rc == 0)
        rc = prepare_plan(s, req, &image);
    return rc < 0 ? rc : launch(s);
}

void start_begin(struct native *n, const struct runtime_start *req, runtime_done_fn done, void *arg)
{
    struct start *s = xnew(struct start);

    s->done = done;
    s->arg = arg;
    s->process = (struct setup_process){.pidfd = -1, .go_fd = -1, .report_fd = -1};
    plan_init(&s->plan);
    arena_init(&s->arena);
    cgroup_dirs_init(&s->dirs);
    s->box = box_new(n, req->sandbox->id);
    s->box->start = s;
    if (prepare_and_launch(s, req) < 0)
        give_up(s);
}
