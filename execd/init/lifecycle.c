#include "execd/init/lifecycle.h"

#include <errno.h>
#include <event2/event.h>
#include <stdio.h>
#include <string.h>

#include "execd/init/cron.h"
#include "execd/init/entrypoint.h"
#include "execd/init/hook.h"
#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "proto/json/jfield.h"

#define PERIODIC_MAX 100
#define NAME_MAX_LEN 63
#define TIMEOUT_DEFAULT_S 60
#define PRE_START_TIMEOUT_MAX_S 10800
#define PERIODIC_TIMEOUT_MAX_S 300
/* The wall clock may be set while a timer runs: it is looked at again after this. */
#define LOOK_EVERY_S 60

struct hook_spec {
    const char *name, *schedule;
    struct jstrings command;
    int64_t timeout_s;
};

struct periodic {
    const struct hook_spec *spec; /* in the arena */
    struct cron cron;
    int64_t due_s;       /* on the clock that cron_next was given */
    struct event *timer; /* owned */
    struct hook *hook;   /* the run that goes on; NULL = none */
};

struct body {
    struct hook_spec pre_start;
    bool has_pre_start;
    struct jobjects periodic;
};

static struct {
    struct arena arena; /* owns what the text said */
    bool is_loaded;
    struct body body;
    struct periodic *periodic; /* in the arena */
    struct event_base *base;   /* borrowed */
    struct hook *pre_start;    /* the run that goes on; NULL = none */
    void (*on_ready)(void *arg, int code);
    void *arg;
} lifecycle;

#define COMMAND(more)                                                                              \
    JFIELD(struct hook_spec, command, JFIELD_STRINGS, .flags = JFIELD_REQUIRED | (more), .min = 1, \
           .max = 1000)
#define TIMEOUT(most)                                                                              \
    {                                                                                              \
        .name = "timeoutSeconds", .kind = JFIELD_I64,                                              \
        .offset = offsetof(struct hook_spec, timeout_s), .min = 1, .max = (most)                   \
    }

static const struct jfield pre_start_fields[] = {
    COMMAND(JFIELD_STRICT),
    TIMEOUT(PRE_START_TIMEOUT_MAX_S),
};

static const struct jfield periodic_fields[] = {
    JFIELD(struct hook_spec, name, JFIELD_STRING, .flags = JFIELD_REQUIRED | JFIELD_STRICT,
           .min = 1, .max = NAME_MAX_LEN),
    JFIELD(struct hook_spec, schedule, JFIELD_STRING, .flags = JFIELD_REQUIRED, .min = 1,
           .max = 255),
    COMMAND(0),
    TIMEOUT(PERIODIC_TIMEOUT_MAX_S),
};

static const struct jfield body_fields[] = {
    {.name = "preStart",
     .kind = JFIELD_OBJECT,
     .flags = JFIELD_STRICT,
     .offset = offsetof(struct body, pre_start),
     .has_offset = offsetof(struct body, has_pre_start),
     .sub = pre_start_fields,
     .n_sub = ARRAY_LEN(pre_start_fields)},
    JFIELD(struct body, periodic, JFIELD_OBJECTS, .max = PERIODIC_MAX, .sub = periodic_fields,
           .n_sub = ARRAY_LEN(periodic_fields), .sub_size = sizeof(struct hook_spec)),
};

static int64_t timeout_ms(const struct hook_spec *spec)
{
    return 1000 * (spec->timeout_s > 0 ? spec->timeout_s : TIMEOUT_DEFAULT_S);
}

/* ---- reading ---- */

static int load_periodic(struct err *err)
{
    const struct hook_spec *specs = lifecycle.body.periodic.items;
    size_t n = lifecycle.body.periodic.n;
    lifecycle.periodic = arena_alloc(&lifecycle.arena, (n + 1) * sizeof(*lifecycle.periodic));
    if (lifecycle.periodic == NULL)
        return err_set(err, 0, ENOMEM, "out of memory");
    for (size_t i = 0; i < n; i++) {
        struct err why = {0};
        lifecycle.periodic[i].spec = &specs[i];
        if (cron_parse(specs[i].schedule, &lifecycle.periodic[i].cron, &why) < 0)
            return err_set(err, 0, EINVAL, "periodic[%zu].schedule: %.150s", i, why.text);
        for (size_t k = 0; k < i; k++)
            if (strcmp(specs[i].name, specs[k].name) == 0)
                return err_set(err, 0, EINVAL, "periodic[%zu].name: '%.63s' is taken", i,
                               specs[i].name);
    }
    return 0;
}

int lifecycle_load(const char *text, struct err *err)
{
    struct err why = {0};
    if (text == NULL || text[0] == '\0')
        return 0;
    arena_init(&lifecycle.arena);
    lifecycle.is_loaded = true;
    int result = jfield_decode_text(body_fields, ARRAY_LEN(body_fields), text, strlen(text), false,
                                    &lifecycle.body, &lifecycle.arena, 0, NULL, &why);
    if (result == 0)
        result = load_periodic(&why);
    if (result < 0) {
        lifecycle_stop();
        return err_set(err, 0, -result, "OPENSANDBOX_LIFECYCLE: %.200s", why.text);
    }
    return 0;
}

/* ---- running ---- */

static void log_end(const char *name, int code)
{
    char text[16];
    snprintf(text, sizeof(text), "%d", code);
    log_event(code == 0 ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "lifecycle",
              code == HOOK_TIMED_OUT ? "a hook took too long" : "a hook has ended", "hook", name,
              "code", text, NULL);
}

/* The code with which it failed to start; 0 when it runs. */
static int run(const char *name, const struct hook_spec *spec, hook_fn on_end, void *arg,
               struct hook **ret_hook)
{
    struct err err = {0};
    int result = hook_start(lifecycle.base, spec->command.items, timeout_ms(spec), on_end, arg,
                            ret_hook, &err);
    if (result == 0)
        return 0;
    log_event(LOG_LEVEL_WARN, "lifecycle", "a hook could not be started", "hook", name, "error",
              err.text, NULL);
    return entrypoint_exec_code(-result);
}

static void on_periodic_end(void *arg, int code)
{
    struct periodic *p = arg;
    p->hook = NULL;
    log_end(p->spec->name, code);
}

/* @every counts on a clock that nobody sets, times of day are the wall's. */
static int64_t now_of(const struct periodic *p)
{
    return (p->cron.every_s > 0 ? clock_monotonic_ms() : clock_wall_ms()) / 1000;
}

static void arm(struct periodic *p)
{
    int64_t left = p->due_s - now_of(p);
    struct timeval tv = {.tv_sec = left < 0 ? 0 : left < LOOK_EVERY_S ? left : LOOK_EVERY_S};
    if (event_add(p->timer, &tv) < 0)
        log_event(LOG_LEVEL_WARN, "lifecycle", "no memory for a timer", "hook", p->spec->name,
                  NULL);
}

static void on_due(evutil_socket_t fd, short what, void *arg)
{
    struct periodic *p = arg;
    (void)fd;
    (void)what;
    if (now_of(p) >= p->due_s) {
        p->due_s = cron_next(&p->cron, now_of(p));
        if (p->hook != NULL)
            log_event(LOG_LEVEL_WARN, "lifecycle", "a hook is skipped: its last run goes on",
                      "hook", p->spec->name, NULL);
        else
            (void)run(p->spec->name, p->spec, on_periodic_end, p, &p->hook); /* logged there */
    }
    if (p->due_s >= 0)
        arm(p);
}

static void schedule(void)
{
    for (size_t i = 0; i < lifecycle.body.periodic.n; i++) {
        struct periodic *p = &lifecycle.periodic[i];
        p->timer = evtimer_new(lifecycle.base, on_due, p);
        p->due_s = cron_next(&p->cron, now_of(p));
        if (p->timer != NULL && p->due_s >= 0)
            arm(p);
    }
}

static void go_on(int code)
{
    if (code == 0)
        schedule();
    lifecycle.on_ready(lifecycle.arg, code);
}

static void on_pre_start_end(void *arg, int code)
{
    (void)arg;
    lifecycle.pre_start = NULL;
    log_end("preStart", code);
    go_on(code);
}

void lifecycle_start(struct event_base *base, void (*on_ready)(void *arg, int code), void *arg)
{
    lifecycle.base = base;
    lifecycle.on_ready = on_ready;
    lifecycle.arg = arg;
    int code = 0;
    if (lifecycle.body.has_pre_start) {
        code = run("preStart", &lifecycle.body.pre_start, on_pre_start_end, NULL,
                   &lifecycle.pre_start);
        if (code == 0)
            return;
    }
    go_on(code);
}

void lifecycle_stop(void)
{
    if (!lifecycle.is_loaded)
        return;
    hook_free(lifecycle.pre_start);
    for (size_t i = 0; lifecycle.periodic != NULL && i < lifecycle.body.periodic.n; i++) {
        struct periodic *p = &lifecycle.periodic[i];
        hook_free(p->hook);
        if (p->timer != NULL)
            event_free(p->timer);
    }
    arena_done(&lifecycle.arena);
    memset(&lifecycle, 0, sizeof(lifecycle));
}
