#include <errno.h>
#include <event2/event.h>
#include <string.h>
#include <sys/timerfd.h>

#include "proto/base/clock.h"
#include "proto/base/loop_delay.h"
#include "proto/base/log.h"
#include "server/service/lifecycle_priv.h"

/* The nearest expiry arms a timer on CLOCK_BOOTTIME; a sweep at least this often is the second belt, and
 * retries removals that failed (design decision 16). */
#define SWEEP_MS 5000

/* A sweep that comes so late finds what nobody could prevent meanwhile: a renewal that was sent in time may not have been
 * read yet. It waits once more, so that whoever stands at the door is heard first. */
#define LATE_MS 20
#define HEARING_MS 500

static int64_t due_of(const struct live *l)
{
    if (l->retry_boot_ms != 0)
        return l->retry_boot_ms;
    if (l->sb.expires_us == 0 || l->starting || l->removing)
        return INT64_MAX;
    return l->sb.expires_boot_ms;
}

void expiry_arm(struct lifecycle *lc)
{
    int64_t now = clock_boottime_ms(), next = now + SWEEP_MS;
    struct live *l, *tmp;

    HASH_ITER(hh, lc->registry, l, tmp)
    next = MIN(next, due_of(l));
    next = MAX(next, lc->hearing_until_boot_ms);
    int64_t wait = MAX(next - now, 1);
    struct itimerspec spec = {
        .it_value = {.tv_sec = wait / 1000, .tv_nsec = (wait % 1000) * 1000000}};
    lc->armed_boot_ms = now + wait;
    (void)timerfd_settime(lc->timer_fd, 0, &spec, NULL); /* cannot fail with these values */
}

static void sweep(struct lifecycle *lc)
{
    int64_t now = clock_boottime_ms();
    struct live *l, *tmp;

    HASH_ITER(hh, lc->registry, l, tmp)
    {
        if (due_of(l) > now)
            continue;
        if (l->retry_boot_ms == 0) {
            lc->counts.expired++;
            log_event(LOG_LEVEL_INFO, "lifecycle", "sandbox expired", "sandbox", l->sb.id, NULL);
        }
        l->retry_boot_ms = 0;
        live_remove(l);
    }
}

static void on_timer(evutil_socket_t fd, short what, void *arg)
{
    struct lifecycle *lc = arg;
    uint64_t ticks;

    (void)what;
    LOOP_WORK("timer", "expiry");
    if (read(fd, &ticks, sizeof(ticks)) < 0 && errno != EAGAIN)
        log_printf(LOG_LEVEL_WARN, "lifecycle", "expiry timer: %s", strerror(errno));
    int64_t now = clock_boottime_ms();
    bool is_late = now - lc->armed_boot_ms >= LATE_MS && lc->hearing_until_boot_ms == 0;
    lc->hearing_until_boot_ms = is_late ? now + HEARING_MS : 0;
    if (!is_late)
        sweep(lc);
    expiry_arm(lc);
}

void expiry_set(struct lifecycle *lc, struct sandbox *sb, int64_t expires_us)
{
    sb->expires_us = expires_us;
    sb->expires_boot_ms =
        expires_us == 0 ? 0 : clock_boottime_ms() + (expires_us - clock_wall_us()) / 1000;
    sb->boot_id = lc->boot_id;
}

int expiry_start(struct lifecycle *lc, struct err *err)
{
    lc->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_CLOEXEC | TFD_NONBLOCK);
    if (lc->timer_fd < 0)
        return err_sys(err, 0, errno, "timerfd");
    lc->timer = event_new(lc->base, lc->timer_fd, EV_READ | EV_PERSIST, on_timer, lc);
    if (lc->timer == NULL || event_add(lc->timer, NULL) < 0)
        return err_set(err, 0, ENOMEM, "expiry timer");
    expiry_arm(lc);
    return 0;
}

void expiry_stop(struct lifecycle *lc)
{
    if (lc->timer != NULL)
        event_free(lc->timer);
    if (lc->timer_fd >= 0)
        close(lc->timer_fd);
}
