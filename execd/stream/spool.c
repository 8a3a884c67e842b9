#include "execd/stream/spool.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/work.h"

#define BATCH_MAX (256 * 1024)
/* Memory instead of a disk: less of it. */
#define MEMORY_MAX (UINT64_C(8) << 20)
#define RETRY_MS 20

struct spool {
    struct channel_reader reader;
    struct work_pool *pool; /* borrowed */
    int fd;                 /* owned; -1 while the log is short */
    bool on_disk;           /* the file has begun to exist; before, the batch is the log */
    uint64_t size, max;     /* stored; limit */
    char *batch;            /* owned: gathered, not yet written */
    size_t batch_len, batch_cap;
    int result;   /* of the write in the pool */
    bool writing; /* the pool has the batch */
    bool cut;
    bool settled;         /* on_settled was posted */
    bool released;        /* freed when the pool is through */
    struct event *retry;  /* owned: the pool's queue was full */
    struct event *notify; /* owned: posts on_settled */
    void (*on_settled)(void *arg);
    void *arg;
};

static int open_file(uint64_t *max)
{
    const char *places[] = {getenv("TMPDIR"), "/tmp", "/var/tmp"};

    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (places[i] == NULL || places[i][0] != '/')
            continue;
        int fd = open(places[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (fd >= 0)
            return fd;
    }
    *max = MIN(*max, MEMORY_MAX);
    int fd = memfd_create("execd-log", MFD_CLOEXEC);
    return fd >= 0 ? fd : -errno;
}

static void spool_free(struct spool *s)
{
    channel_detach(&s->reader);
    if (s->retry != NULL)
        event_free(s->retry);
    if (s->notify != NULL)
        event_free(s->notify);
    if (s->fd >= 0)
        close(s->fd);
    free(s->batch);
    free(s);
}

static void settle(struct spool *s)
{
    if (s->settled)
        return;
    s->settled = true;
    channel_detach(&s->reader);
    event_active(s->notify, EV_TIMEOUT, 0);
}

/* In the pool. Only fields that the loop leaves alone meanwhile. */
static void write_batch(void *arg)
{
    struct spool *s = arg;
    size_t done = 0;

    while (done < s->batch_len) {
        ssize_t n = pwrite(s->fd, s->batch + done, s->batch_len - done, (off_t)(s->size + done));
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0) {
            s->result = n < 0 ? -errno : -EIO;
            return;
        }
        done += (size_t)n;
    }
}

static void proceed(void *arg);

static void on_written(void *arg)
{
    struct spool *s = arg;

    s->writing = false;
    if (s->released) {
        spool_free(s);
        return;
    }
    if (s->result < 0) { /* what is stored stays, in memory where the file never began */
        s->cut = true;
        settle(s);
        return;
    }
    s->on_disk = true;
    s->size += s->batch_len;
    s->batch_len = 0;
    proceed(s);
}

static void take_entry(struct spool *s, const struct channel_entry *e)
{
    if (e->type == EVENT_GAP)
        s->cut = true;
    if (e->type != EVENT_STDOUT && e->type != EVENT_STDERR)
        return;
    size_t room = (size_t)MIN(s->max - s->size - s->batch_len, (uint64_t)e->len);
    memcpy(s->batch + s->batch_len, e->data, room);
    s->batch_len += room;
    if (room < e->len)
        s->cut = true;
}

/* Room for one more entry in the batch. A pump reads less at once than a batch may hold. */
static bool make_room(struct spool *s, size_t need)
{
    size_t cap = s->batch_cap;

    if (need > BATCH_MAX)
        return false;
    while (cap < need)
        cap = cap == 0 ? 1024 : MIN(2 * cap, (size_t)BATCH_MAX);
    char *grown = cap > s->batch_cap ? realloc(s->batch, cap) : s->batch;
    if (grown == NULL)
        return false;
    s->batch = grown;
    s->batch_cap = cap;
    return true;
}

static void gather(struct spool *s)
{
    struct channel_entry e;

    while (!s->cut && channel_peek(&s->reader, &e)) {
        if (s->batch_len > 0 && s->batch_len + e.len > BATCH_MAX)
            return;
        if (!make_room(s, s->batch_len + e.len)) {
            s->cut = true;
            return;
        }
        take_entry(s, &e);
        channel_advance(&s->reader);
    }
}

/* Hands the batch to the pool; true when there is something to wait for. */
static bool write_out(struct spool *s)
{
    static const struct timeval tv = {.tv_usec = RETRY_MS * 1000};

    if (s->batch_len == 0)
        return false;
    s->writing = true;
    if (work_post(s->pool, write_batch, on_written, s) == 0)
        return true;
    s->writing = false;
    if (event_add(s->retry, &tv) == 0)
        return true;
    s->cut = true;
    return false;
}

static void proceed(void *arg)
{
    struct spool *s = arg;

    if (s->writing || s->settled)
        return;
    s->cut = s->cut || s->reader.cut; /* the disk stood still for as long as a channel waits */
    gather(s);
    if (s->fd < 0 && s->batch_len > SPOOL_MEMORY_MAX && (s->fd = open_file(&s->max)) < 0) {
        s->batch_len = SPOOL_MEMORY_MAX;
        s->cut = true;
    }
    if (s->fd >= 0) {
        if (write_out(s))
            return;
        if (s->on_disk) {
            free(take_ptr(&s->batch));
            s->batch_cap = 0;
        }
    }
    if (s->cut || channel_at_end(&s->reader))
        settle(s);
}

static void on_retry(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    proceed(arg);
}

static void on_notify(evutil_socket_t fd, short what, void *arg)
{
    struct spool *s = arg;

    (void)fd;
    (void)what;
    s->on_settled(s->arg);
}

int spool_new(struct event_base *base, struct work_pool *pool, struct channel *ch, uint64_t max,
              void (*on_settled)(void *arg), void *arg, struct spool **ret)
{
    struct spool *s = xnew(struct spool);

    s->pool = pool;
    s->max = max;
    s->on_settled = on_settled;
    s->arg = arg;
    s->fd = -1;
    s->retry = event_new(base, -1, 0, on_retry, s);
    s->notify = event_new(base, -1, 0, on_notify, s);
    int rc = s->retry == NULL || s->notify == NULL ? -ENOMEM : 0;
    if (rc < 0) {
        spool_free(s);
        return rc;
    }
    channel_attach(&s->reader, ch, CHANNEL_FROM_START, proceed, s);
    *ret = s;
    return 0;
}

void spool_release(struct spool *s)
{
    if (s == NULL)
        return;
    channel_detach(&s->reader);
    s->released = true;
    s->settled = true;
    (void)event_del(s->notify);
    if (!s->writing)
        spool_free(s);
}

uint64_t spool_size(const struct spool *s)
{
    return s->on_disk ? s->size : s->batch_len;
}

const char *spool_memory(const struct spool *s)
{
    return s->on_disk ? NULL : s->batch != NULL ? s->batch : "";
}

bool spool_is_cut(const struct spool *s)
{
    return s->cut;
}

int spool_open(const struct spool *s, int *ret_fd)
{
    *ret_fd = fd_dup_cloexec(s->fd);
    return *ret_fd < 0 ? *ret_fd : 0;
}
