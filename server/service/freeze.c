#include <errno.h>
#include <stdio.h>

#include "proto/api/errors.h"
#include "proto/base/log.h"
#include "server/service/lifecycle_priv.h"

/* One pause or resume under way. The sandbox is named, not pointed at: it may be deleted meanwhile. */
struct freeze {
    struct lifecycle *lc; /* borrowed */
    char id[ID_UUID_LEN + 1];
    bool pause;
    lifecycle_fn done; /* NULL once cancelled */
    void *arg;
    struct freeze *next;
};

static void unlink_freeze(struct freeze *f)
{
    struct freeze **at = &f->lc->freezes;

    while (*at != f)
        at = &(*at)->next;
    *at = f->next;
}

static void on_settled(void *arg, const struct err *err, const char *data)
{
    struct freeze *f = arg;
    struct live *l = live_find(f->lc, f->id);
    struct err store_err = {0};

    (void)data;
    unlink_freeze(f);
    if (err == NULL && l != NULL) {
        live_apply(l, f->pause ? SANDBOX_OP_PAUSE : SANDBOX_OP_RESUME,
                   f->pause ? "CONTAINER_PAUSED" : "CONTAINER_RUNNING",
                   f->pause ? "Sandbox container is paused." : "Sandbox container is running.");
        if (store_put(f->lc->store, &l->sb, &store_err) < 0)
            err = &store_err;
    }
    if (f->done != NULL)
        f->done(f->arg, err == NULL && l != NULL ? &l->sb : NULL, err);
    free(f);
}

void lifecycle_freeze(struct lifecycle *lc, const char *id, bool pause, lifecycle_fn done,
                      void *arg)
{
    const struct runtime_ops *ops = lc->runtime->ops;
    const struct sandbox *sb = lifecycle_find(lc, id);
    enum sandbox_state to;
    struct err err = {0};

    if (sb == NULL)
        (void)err_set(&err, ERR_SANDBOX_NOT_FOUND, ENOENT, "Sandbox %.64s not found.", id);
    else if (sandbox_transition(sb->state, pause ? SANDBOX_OP_PAUSE : SANDBOX_OP_RESUME, &to) < 0)
        (void)err_set(&err, pause ? ERR_SANDBOX_NOT_RUNNING : ERR_SANDBOX_NOT_PAUSED, EINVAL,
                      "Sandbox %s is %s, not %s.", id, sandbox_state_name(sb->state),
                      pause ? "Running" : "Paused");
    if (sb == NULL || err.errnum != 0) {
        done(arg, NULL, &err);
        return;
    }
    struct freeze *f = xnew(struct freeze);
    *f = (struct freeze){.lc = lc, .pause = pause, .done = done, .arg = arg, .next = lc->freezes};
    snprintf(f->id, sizeof(f->id), "%s", sb->id);
    lc->freezes = f;
    (pause ? ops->pause : ops->resume)(lc->runtime, sb->id, sb->runtime_data, on_settled, f);
}

void freezes_cancel(struct lifecycle *lc, const void *arg)
{
    for (struct freeze *f = lc->freezes; f != NULL; f = f->next) {
        if (f->arg == arg)
            f->done = NULL;
    }
}

void freezes_free(struct lifecycle *lc)
{
    while (lc->freezes != NULL) {
        struct freeze *f = lc->freezes;
        lc->freezes = f->next;
        free(f);
    }
}
