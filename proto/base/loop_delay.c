#include "proto/base/loop_delay.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

#include "proto/base/clock.h"
#include "proto/base/log.h"

#define NS_PER_MS INT64_C(1000000)
/* The times of the CPU are read this often at most: two microseconds, and a round can be one. */
#define SAMPLE_NS (5 * NS_PER_MS)
/* So long a stretch without a look is the way of any machine. */
#define AWAY_MIN_NS (20 * NS_PER_MS)
/* A wait that outlasts its limit by as much is one in which the process stood still. */
#define STOP_MIN_NS (80 * NS_PER_MS)

const double loop_delay_bounds_s[LOOP_DELAY_BOUNDS] = {0.001, 0.005, 0.025, 0.1, 0.25, 0.5, 1};

struct work {
    const char *kind, *name; /* NULL: nobody said */
    int64_t ns;              /* of the longest: its length; of the current one: its begin */
};

static __thread bool measured; /* only the loop's own thread, libzmq's have loops too */
static struct {
    int epoll_fd;     /* -1: not yet known */
    int schedstat_fd; /* owned, for the life of the process; -1: the kernel does not tell */
    int64_t round_ns; /* when the round began; 0: none under way */
    struct work now, longest;
    int64_t sampled_ns; /* when cpu was read last */
    struct cpu_times {
        int64_t ran_ns, waited_ns; /* on a CPU, and ready to run without one */
    } cpu;
    struct loop_delay sum;
} loop = {.epoll_fd = -1, .schedstat_fd = -1};
static int64_t wait_ns; /* when its wait began */
static int64_t away_ns; /* left out by loop_clock_ms */

/* Not clock.h's: tests shift that one, and a shift is no delay. */
static int64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* As the kernel tells it, since the thread began; unchanged when it does not. */
static void read_cpu(struct cpu_times *ret)
{
    char text[96];
    ssize_t n = loop.schedstat_fd < 0 ? 0 : pread(loop.schedstat_fd, text, sizeof(text) - 1, 0);

    if (n <= 0)
        return;
    text[n] = '\0';
    (void)sscanf(text, "%" SCNd64 " %" SCNd64, &ret->ran_ns, &ret->waited_ns); /* ours otherwise */
}

void loop_delay_start(void)
{
    measured = true;
    loop.schedstat_fd = open("/proc/thread-self/schedstat", O_RDONLY | O_CLOEXEC);
}

void loop_delay_get(struct loop_delay *ret)
{
    *ret = loop.sum;
}

/* How much of a stretch in which the loop did not look the process stood still. Work and a lack of CPU are no pause: else
 * who keeps the loop busy would prolong every deadline, its own too. */
static int64_t away_of(int64_t ns)
{
    struct cpu_times cpu = loop.cpu;

    if (ns <= AWAY_MIN_NS || loop.schedstat_fd < 0)
        return 0;
    read_cpu(&cpu);
    int64_t at_work = cpu.ran_ns - loop.cpu.ran_ns + cpu.waited_ns - loop.cpu.waited_ns;
    return MAX(ns - at_work - AWAY_MIN_NS, INT64_C(0));
}

int64_t loop_clock_ms(void)
{
    int64_t now = now_ns(), away = measured ? away_ns : 0;

    if (measured && loop.round_ns != 0)
        away += away_of(now - loop.round_ns);
    return (now - away) / NS_PER_MS + clock_test_shift_ms;
}

static void end_work(int64_t now)
{
    int64_t ns = now - loop.now.ns;

    if (ns > loop.longest.ns)
        loop.longest = (struct work){.kind = loop.now.kind, .name = loop.now.name, .ns = ns};
}

int loop_work_begin(const char *kind, const char *name)
{
    if (!measured || loop.round_ns == 0)
        return 0;
    int64_t now = now_ns();
    end_work(now);
    loop.now = (struct work){.kind = kind, .name = name, .ns = now};
    return 0;
}

void loop_work_end(const int *guard)
{
    (void)guard;
    (void)loop_work_begin(NULL, NULL); /* always 0 */
}

static void tell(int64_t ns)
{
    char what[128], ms[24], longest[24], waited[24];
    const struct work *w = &loop.longest;
    struct cpu_times cpu = loop.cpu;

    if (w->kind != NULL)
        (void)snprintf(what, sizeof(what), "%s %s", w->kind, w->name); /* ours: it fits */
    snprintf(ms, sizeof(ms), "%" PRId64, ns / NS_PER_MS);
    snprintf(longest, sizeof(longest), "%" PRId64, w->ns / NS_PER_MS);
    /* The last reading may be from before the round: what was waited then is not the round's. */
    read_cpu(&cpu);
    snprintf(waited, sizeof(waited), "%" PRId64,
             MIN(cpu.waited_ns - loop.cpu.waited_ns, ns) / NS_PER_MS);
    log_event(LOG_LEVEL_WARN, "loop", "the loop was held up", "ms", ms, "longest",
              w->kind != NULL ? what : "a timer or a descriptor", "longest_ms", longest,
              "without_cpu_ms", loop.schedstat_fd >= 0 ? waited : NULL, NULL);
}

static void end_round(void)
{
    int64_t now = wait_ns = now_ns();
    if (loop.round_ns == 0)
        return;
    int64_t ns = now - loop.round_ns;
    away_ns += away_of(ns);
    uint64_t us = (uint64_t)(ns / 1000);
    size_t i = 0;

    while (i < LOOP_DELAY_BOUNDS && (double)ns > loop_delay_bounds_s[i] * 1e9)
        i++;
    loop.sum.rounds[i]++;
    loop.sum.sum_us += us;
    loop.sum.max_us = MAX(loop.sum.max_us, us);
    if (ns >= LOOP_STALL_MS * NS_PER_MS) {
        loop.sum.stalls++;
        end_work(now);
        tell(ns);
    }
    loop.round_ns = 0;
}

/* How much of a disturbed wait was a stop nobody knows: none of it counts. One that began when something had just
 * arrived interrupts nothing, and shows by the limit of the wait alone. */
static int64_t away_of_wait(int64_t waited, bool interrupted, int timeout_ms)
{
    int64_t limit = interrupted ? 0 : timeout_ms < 0 ? waited : timeout_ms * NS_PER_MS;
    int64_t away = away_of(waited - limit);

    return away > STOP_MIN_NS ? away + limit : away;
}

static void begin_round(bool interrupted, int timeout_ms)
{
    int64_t now = now_ns();

    away_ns += away_of_wait(now - wait_ns, interrupted, timeout_ms);
    loop.round_ns = now;
    loop.now = (struct work){.ns = now};
    loop.longest = (struct work){0};
    if (now - loop.sampled_ns >= SAMPLE_NS) {
        loop.sampled_ns = now;
        read_cpu(&loop.cpu);
    }
}

/* A signal, a stop or a freeze of the process ends the wait although sockets may have become ready, and libevent then
 * runs all timers that are due: the answer that they wait for would be read behind them. So there is one more look. */
static int wait_and_look(int epoll_fd, struct epoll_event *events, int n, int timeout_ms,
                         bool *ret_interrupted)
{
    int result = epoll_pwait(epoll_fd, events, n, timeout_ms, NULL);

    *ret_interrupted = result < 0 && errno == EINTR;
    return *ret_interrupted ? epoll_pwait(epoll_fd, events, n, 0, NULL) : result;
}

/* In the place of the C library's, for libevent too: libevent 2.1 has no callback around its wait. What other threads
 * or other loops wait for is not measured. Visible: the server links libevent dynamically. */
__attribute__((visibility("default"))) int epoll_wait(int epoll_fd, struct epoll_event *events,
                                                      int n, int timeout_ms)
{
    if (measured && loop.epoll_fd < 0)
        loop.epoll_fd = epoll_fd;
    bool ours = measured && epoll_fd == loop.epoll_fd, interrupted;
    if (ours)
        end_round();
    int result = wait_and_look(epoll_fd, events, n, timeout_ms, &interrupted);
    if (ours && result >= 0) /* an error makes no round, and errno stays its */
        begin_round(interrupted, timeout_ms);
    return result;
}

/* ---- showing ---- */

#define NAME_MAX_LEN 64

void loop_delay_write_metrics(const char *prefix, struct strbuf *out, enum metric_format f)
{
    const struct loop_delay *sum = &loop.sum;
    char name[NAME_MAX_LEN];

    (void)snprintf(name, sizeof(name), "%s_loop_delay_seconds", prefix); /* ours: all fit */
    metric_family(out, f, name, METRIC_HISTOGRAM, "seconds",
                  "How long descriptors and timers may have waited for the event loop.");
    metric_histogram(out, name, loop_delay_bounds_s, sum->rounds, LOOP_DELAY_BOUNDS,
                     (double)sum->sum_us / 1e6, "loop", "main");
    (void)snprintf(name, sizeof(name), "%s_loop_delay_max_seconds", prefix);
    metric_one(out, f, name, METRIC_GAUGE, "seconds", "The longest such wait since the start.",
               (double)sum->max_us / 1e6);
    (void)snprintf(name, sizeof(name), "%s_loop_stalls", prefix);
    metric_one(out, f, name, METRIC_COUNTER, NULL, "Such waits of a second and more.",
               (double)sum->stalls);
}
