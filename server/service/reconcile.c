#include <errno.h>
#include <string.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"
#include "server/service/lifecycle_priv.h"

/* How far a run of the server that ended anyhow and the world may differ, and what is done:
 *   stored, runs            adopted
 *   stored, does not run    Terminated or Failed, stays listed until its TTL or DELETE
 *   stored as Stopping      removed now (the client was, or will be, told so)
 *   not stored, exists      removed: its creation was never acknowledged
 */
static void adopt(struct live *l)
{
    struct runtime *rt = l->lc->runtime;
    struct runtime_exit exit = {0};
    struct err err = {0};

    if (l->sb.state != SANDBOX_RUNNING && l->sb.state != SANDBOX_PAUSED)
        return;
    if (rt->ops->adopt(rt, &l->sb, &exit, &err) == 0) {
        log_event(LOG_LEVEL_INFO, "lifecycle", "sandbox adopted", "sandbox", l->sb.id, NULL);
        return;
    }
    log_event(LOG_LEVEL_WARN, "lifecycle", "sandbox ended while the server was away", "sandbox",
              l->sb.id, "detail", err.text, NULL);
    lifecycle_on_exit(l->lc, l->sb.id, &exit);
}

static int load_one(void *arg, struct sandbox *sb)
{
    struct lifecycle *lc = arg;

    /* Within one boot the boottime instant is exact; across boots only the wall clock is left. */
    if (sb->expires_us != 0 && (sb->boot_id == NULL || strcmp(sb->boot_id, lc->boot_id) != 0))
        expiry_set(lc, sb, sb->expires_us);
    live_add(lc, sb);
    memset(&sb->arena, 0, sizeof(sb->arena)); /* moved */
    return 0;
}

static void removed_stray(void *arg, const struct err *err, const char *data)
{
    cleanup_free char *id = arg;

    (void)data;
    log_event(err == NULL ? LOG_LEVEL_INFO : LOG_LEVEL_WARN, "lifecycle",
              "unacknowledged sandbox removed", "sandbox", id, "error",
              err != NULL ? err->text : NULL, NULL);
}

static int check_found(void *arg, const struct runtime_found *found)
{
    struct lifecycle *lc = arg;

    if (live_find(lc, found->id) == NULL)
        lc->runtime->ops->remove(lc->runtime, found->id, NULL, removed_stray, xstrdup(found->id));
    return 0;
}

int reconcile(struct lifecycle *lc, struct err *err)
{
    struct live *l, *tmp;

    int rc = store_each(lc->store, load_one, lc, err);
    if (rc < 0)
        return err_wrap(err, "load the sandboxes");
    HASH_ITER(hh, lc->registry, l, tmp)
    {
        adopt(l);
        if (l->sb.state == SANDBOX_STOPPING || l->sb.state == SANDBOX_PENDING)
            live_remove(l);
    }
    return lc->runtime->ops->each(lc->runtime, check_found, lc, err);
}
