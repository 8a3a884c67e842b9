#include "server/service/lifecycle.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/clock.h"
#include "proto/base/fd.h"
#include "proto/base/log.h"
#include "server/service/lifecycle_priv.h"
#include "server/model/labels.h"
#include "server/store/record.h"

#define REMOVE_RETRY_MS                                                                            \
    30000 /* a runtime that cannot remove is asked again (contracts/v1.1.md 2.5) */

static void read_boot_id(struct lifecycle *lc)
{
    if (fd_slurp_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", lc->boot_id, sizeof(lc->boot_id)) <
        0)
        lc->boot_id[0] = '\0';
    lc->boot_id[strcspn(lc->boot_id, "\n")] = '\0';
}

int lifecycle_new(struct event_base *base, const struct lifecycle_config *config,
                  struct store *store, struct runtime *runtime, struct lifecycle **ret_lifecycle,
                  struct err *err)
{
    struct lifecycle *lc = xnew(struct lifecycle);

    lc->base = base;
    lc->config = *config;
    lc->store = store;
    lc->runtime = runtime;
    lc->timer_fd = -1;
    read_boot_id(lc);
    runtime->on_exit = lifecycle_on_exit;
    runtime->arg = lc;
    int rc = tokens_load(lc, err);
    if (rc == 0)
        rc = expiry_start(lc, err);
    if (rc == 0)
        rc = reconcile(lc, err);
    if (rc < 0) {
        lifecycle_free(lc);
        return rc;
    }
    expiry_arm(lc);
    *ret_lifecycle = lc;
    return 0;
}

void lifecycle_free(struct lifecycle *lc)
{
    struct live *l, *tmp;

    if (lc == NULL)
        return;
    expiry_stop(lc);
    HASH_ITER(hh, lc->registry, l, tmp)
    live_free(l);
    freezes_free(lc);
    explicit_bzero(lc->master, sizeof(lc->master));
    free(lc);
}

/* --- create --- */

static void on_started(void *arg, const struct err *err, const char *data)
{
    struct live *l = arg;
    struct lifecycle *lc = l->lc;
    struct err store_err = {0};

    l->starting = false;
    if (err != NULL) {
        lc->counts.create_failed++;
        waiters_answer(&l->creator, NULL, err);
        waiters_answer(&l->deleters, &l->sb, NULL);
        live_free(l);
        return;
    }
    l->sb.runtime_data = arena_strndup(&l->sb.arena, data, strlen(data));
    if (l->orphaned || l->deleters != NULL) {
        live_remove(l);
        return;
    }
    live_apply(l, SANDBOX_OP_STARTED, "CONTAINER_RUNNING",
               "Sandbox container started successfully.");
    l->sb.transition_us = l->sb.created_us;
    if (store_put(lc->store, &l->sb, &store_err) < 0) {
        lc->counts.create_failed++;
        waiters_answer(&l->creator, NULL, &store_err);
        live_remove(l);
        return;
    }
    lc->counts.created++;
    lc->counts.last_create_us = (clock_monotonic_ns() - l->begun_ns) / 1000;
    expiry_arm(lc);
    waiters_answer(&l->creator, &l->sb, NULL);
}

static void push_waiter(struct waiter **list, lifecycle_fn done, void *arg)
{
    struct waiter *w = xnew(struct waiter);

    *w = (struct waiter){.done = done, .arg = arg, .next = *list};
    *list = w;
}

/* A copy with an arena of its own. */
static int build_sandbox(struct lifecycle *lc, const struct sandbox_spec *spec, struct sandbox *ret,
                         struct err *err)
{
    struct sandbox draft = {
        .spec = *spec, .state = SANDBOX_PENDING, .runtime = lc->runtime->ops->name};
    struct arena scratch;

    arena_init(&scratch);
    ids_uuid(draft.id);
    draft.created_us = draft.transition_us = clock_wall_us();
    if (spec->timeout_s > 0)
        expiry_set(lc, &draft, draft.created_us + spec->timeout_s * 1000000);
    int rc = lc->runtime->ops->resolve_image(lc->runtime, spec->image, &scratch,
                                             &draft.image_digest, err);
    if (rc == 0)
        rc = record_copy(&draft, ret, err);
    arena_done(&scratch);
    return rc;
}

int lifecycle_create(struct lifecycle *lc, const struct sandbox_spec *spec, lifecycle_fn done,
                     void *arg, struct err *err)
{
    int64_t begun_ns = clock_monotonic_ns();
    struct sandbox sb;

    if (HASH_COUNT(lc->registry) >= lc->config.sandboxes_max)
        return err_set(err, ERR_TOO_MANY_SANDBOXES, EDQUOT,
                       "%u sandboxes exist, which is the limit (server.max_sandboxes)",
                       lc->config.sandboxes_max);
    if (lc->config.timeout_max_s > 0 && spec->timeout_s > lc->config.timeout_max_s)
        return err_set(err, ERR_INVALID_PARAMETER, EINVAL,
                       "timeout %lld is above server.max_sandbox_timeout_seconds (%lld)",
                       (long long)spec->timeout_s, (long long)lc->config.timeout_max_s);
    int rc = lc->runtime->ops->check_limits(lc->runtime, spec, err);
    if (rc == 0)
        rc = build_sandbox(lc, spec, &sb, err);
    if (rc < 0)
        return rc;

    struct live *l = live_add(lc, &sb);
    char verifier[SHA256_HEX_LEN + 1];
    tokens_verifier(lc, &l->sb, verifier);
    l->begun_ns = begun_ns;
    l->starting = true;
    push_waiter(&l->creator, done, arg);
    struct runtime_start start = {.sandbox = &l->sb, .token_sha256 = verifier};
    lc->runtime->ops->start(lc->runtime, &start, on_started, l);
    return 0;
}

void lifecycle_cancel(struct lifecycle *lc, void *arg)
{
    struct live *l, *tmp;

    freezes_cancel(lc, arg);
    HASH_ITER(hh, lc->registry, l, tmp)
    {
        if (l->creator != NULL && l->creator->arg == arg) {
            l->creator->done = NULL;
            l->orphaned = true;
        }
        for (struct waiter *w = l->deleters; w != NULL; w = w->next) {
            if (w->arg == arg)
                w->done = NULL;
        }
    }
}

/* --- delete --- */

static void on_removed(void *arg, const struct err *err, const char *data)
{
    struct live *l = arg;
    struct lifecycle *lc = l->lc;
    struct err store_err = {0};

    (void)data;
    l->removing = false;
    if (err == NULL && store_delete(lc->store, l->sb.id, &store_err) < 0)
        err = &store_err;
    if (err != NULL) {
        log_event(LOG_LEVEL_ERROR, "lifecycle", "removal failed, will be tried again", "sandbox",
                  l->sb.id, "error", err->text, NULL);
        l->retry_boot_ms = clock_boottime_ms() + REMOVE_RETRY_MS;
        expiry_arm(lc);
        waiters_answer(&l->deleters, NULL, err);
        return;
    }
    lc->counts.deleted++;
    waiters_answer(&l->creator, NULL, NULL);
    waiters_answer(&l->deleters, &l->sb, NULL);
    live_free(l);
}

/* From here on a restart must go on with the removal, not take the sandbox for a running or a broken one. Where the
 * store fails the removal goes on all the same. */
static void store_removal(struct live *l)
{
    struct err err = {0};

    if (store_put(l->lc->store, &l->sb, &err) < 0)
        log_event(LOG_LEVEL_WARN, "lifecycle", "removal could not be noted", "sandbox", l->sb.id,
                  "error", err.text, NULL);
}

void live_remove(struct live *l)
{
    struct runtime *rt = l->lc->runtime;
    bool is_stored = l->sb.state != SANDBOX_PENDING && l->sb.state != SANDBOX_STOPPING;

    if (l->removing)
        return;
    l->removing = true;
    live_apply(l, SANDBOX_OP_DELETE, "DELETING", "Sandbox is being removed.");
    if (is_stored)
        store_removal(l);
    rt->ops->remove(rt, l->sb.id, l->sb.runtime_data, on_removed, l);
}

void lifecycle_delete(struct lifecycle *lc, const char *id, lifecycle_fn done, void *arg)
{
    struct live *l = live_find(lc, id);

    if (l == NULL) {
        struct err err;
        (void)err_set(&err, ERR_SANDBOX_NOT_FOUND, ENOENT, "Sandbox %.64s not found.", id);
        done(arg, NULL, &err);
        return;
    }
    push_waiter(&l->deleters, done, arg);
    if (!l->starting) /* else on_started goes on with it */
        live_remove(l);
}

/* --- changes --- */

static int find_visible(struct lifecycle *lc, const char *id, struct live **ret, struct err *err)
{
    if (lifecycle_find(lc, id) == NULL)
        return err_set(err, ERR_SANDBOX_NOT_FOUND, ENOENT, "Sandbox %.64s not found.", id);
    *ret = live_find(lc, id);
    return 0;
}

/* Stores `changed` and, once it is durable, puts it in the place of the live one. */
static int commit_change(struct live *l, struct sandbox *changed, struct err *err)
{
    int rc = store_put(l->lc->store, changed, err);

    if (rc < 0) {
        arena_done(&changed->arena);
        return rc;
    }
    arena_done(&l->sb.arena);
    l->sb = *changed;
    expiry_arm(l->lc);
    return 0;
}

int lifecycle_renew(struct lifecycle *lc, const char *id, int64_t expires_us, struct err *err)
{
    struct sandbox changed;
    struct live *l;

    int rc = find_visible(lc, id, &l, err);
    if (rc < 0)
        return rc;
    if (l->sb.expires_us == 0)
        return err_set(err, ERR_EXPIRATION_CONFLICT, EINVAL,
                       "Sandbox %s has no expiration (manual clean-up): it cannot be renewed.", id);
    if (expires_us <= clock_wall_us())
        return err_set(err, ERR_INVALID_EXPIRATION, EINVAL, "expiresAt must lie in the future");
    rc = record_copy(&l->sb, &changed, err);
    if (rc < 0)
        return rc;
    expiry_set(lc, &changed, expires_us);
    return commit_change(l, &changed, err);
}

static struct jmap merge_metadata(struct arena *arena, const struct jmap *old,
                                  const struct jpair *changes, size_t n)
{
    struct jmap merged = {.items = arena_alloc(arena, sizeof(struct jpair) * (old->n + n + 1))};

    if (merged.items == NULL)
        return (struct jmap){.n = SIZE_MAX};
    for (size_t i = 0; i < old->n; i++) {
        bool touched = false;
        for (size_t c = 0; c < n && !touched; c++)
            touched = strcmp(old->items[i].key, changes[c].key) == 0;
        if (!touched)
            merged.items[merged.n++] = old->items[i];
    }
    for (size_t c = 0; c < n; c++) {
        if (changes[c].value != NULL)
            merged.items[merged.n++] = changes[c];
    }
    return merged;
}

int lifecycle_patch_metadata(struct lifecycle *lc, const char *id, const struct jpair *changes,
                             size_t n, struct err *err)
{
    struct sandbox draft, changed;
    struct arena scratch;
    struct live *l;

    int rc = find_visible(lc, id, &l, err);
    if (rc < 0)
        return rc;
    arena_init(&scratch);
    draft = l->sb;
    draft.spec.metadata = merge_metadata(&scratch, &l->sb.spec.metadata, changes, n);
    if (draft.spec.metadata.n == SIZE_MAX)
        rc = err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for the metadata");
    else if (draft.spec.metadata.n > LABELS_MAX)
        rc = err_set(err, ERR_INVALID_METADATA_LABEL, E2BIG, "more than %d metadata entries",
                     LABELS_MAX);
    else
        rc = record_copy(&draft, &changed, err);
    arena_done(&scratch);
    return rc < 0 ? rc : commit_change(l, &changed, err);
}

/* --- the runtime's news --- */

void lifecycle_on_exit(void *arg, const char *id, const struct runtime_exit *exit)
{
    struct lifecycle *lc = arg;
    struct live *l = live_find(lc, id);
    struct err err = {0};

    if (l == NULL || l->starting || l->removing)
        return;
    bool clean = exit->known && !exit->signalled && exit->code == 0;
    char *message = NULL;
    if (clean)
        message = arena_printf(&l->sb.arena, "Sandbox container exited successfully.");
    else if (exit->oom)
        message = arena_printf(&l->sb.arena, "Sandbox was killed by the kernel: out of memory.");
    else if (exit->known)
        message = arena_printf(&l->sb.arena, "Sandbox container exited with %s %d.",
                               exit->signalled ? "signal" : "code", exit->code);
    else
        message =
            arena_printf(&l->sb.arena, "Sandbox container is gone; its exit status is unknown.");
    lc->counts.exited++;
    live_apply(l, clean ? SANDBOX_OP_EXITED : SANDBOX_OP_BROKE,
               clean ? "CONTAINER_EXITED" : "CONTAINER_EXITED_ERROR",
               message != NULL ? message : "");
    if (store_put(lc->store, &l->sb, &err) < 0)
        log_event(LOG_LEVEL_ERROR, "lifecycle", "exit could not be stored", "sandbox", id, "error",
                  err.text, NULL);
}

int lifecycle_execd_target(struct lifecycle *lc, const struct sandbox *sb,
                           struct relay_target *ret_target, struct arena *arena)
{
    return lc->runtime->ops->execd_target(lc->runtime, sb, ret_target, arena);
}
