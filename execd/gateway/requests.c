#include "execd/gateway/requests.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "proto/base/mem.h"
#include "proto/base/str.h"

struct request {
    TAILQ_ENTRY(request) link;
    enum kernel_channel channel;
    char id[JMSG_ID_MAX], type[JMSG_TYPE_MAX];
    struct message *reply, *idle; /* owned; held back */
    bool busy, replied, waits;    /* waits: its idle came first */
    unsigned n_wakes;
    int64_t waits_since_ms; /* for the kernel to begin */
    int64_t due_ms;         /* of what it waits for; INT64_MAX = nothing that can be late */
    size_t header_len;
    char header[]; /* parent of what we say for the kernel */
};

static struct slice header_of(const struct request *q)
{
    return (struct slice){q->header, q->header_len};
}

static bool is_execute(const struct request *q)
{
    return strcmp(q->type, "execute_request") == 0;
}

/* NULL: no memory for a message of ours, and nothing better to do about it. */
static void deliver(struct requests *r, struct message *m)
{
    if (m != NULL)
        r->deliver(r->arg, m);
}

/* ---- coming and going ----------------------------------------------------------------------------- */

void requests_init(struct requests *r, void (*on_message)(void *arg, struct message *m), void *arg)
{
    memset(r, 0, sizeof(*r));
    TAILQ_INIT(&r->list);
    TAILQ_INIT(&r->behind);
    r->deliver = on_message;
    r->arg = arg;
}

static void remove_request(struct requests *r, struct request *q)
{
    TAILQ_REMOVE(&r->list, q, link);
    r->n--;
    r->n_waiting -= q->waits;
    message_free(q->reply);
    message_free(q->idle);
    free(q);
}

static struct message *pop_behind(struct requests *r)
{
    struct message *m = TAILQ_FIRST(&r->behind);

    TAILQ_REMOVE(&r->behind, m, link);
    r->behind_bytes -= m->size;
    return m;
}

void requests_done(struct requests *r)
{
    while (!TAILQ_EMPTY(&r->behind))
        message_free(pop_behind(r));
    while (!TAILQ_EMPTY(&r->list))
        remove_request(r, TAILQ_FIRST(&r->list));
}

bool requests_has_room(const struct requests *r)
{
    return r->n < REQUESTS_MAX;
}

int requests_add(struct requests *r, const struct frame *frame, int64_t now_ms)
{
    struct slice header = frame->parts.header;

    if (!str_ends(frame->type, "_request"))
        return 0;
    struct request *q = malloc(sizeof(*q) + header.len);
    if (q == NULL)
        return -ENOMEM;
    memset(q, 0, sizeof(*q));
    q->channel = frame->channel;
    memcpy(q->id, frame->id, sizeof(q->id));
    memcpy(q->type, frame->type, sizeof(q->type));
    q->waits_since_ms = now_ms;
    q->due_ms = INT64_MAX;
    q->header_len = header.len;
    memcpy(q->header, header.ptr, header.len);
    TAILQ_INSERT_TAIL(&r->list, q, link);
    r->n++;
    return 0;
}

/* ---- how one ends ---------------------------------------------------------------------------------- */

static void give_reply(struct requests *r, struct request *q)
{
    deliver(r, take_ptr(&q->reply));
    q->replied = true;
}

/* With whatever has come; what is missing is said by us. */
static void end(struct requests *r, struct request *q, const struct message_fault *fault)
{
    struct slice header = header_of(q);

    if (!q->replied && q->reply == NULL) {
        if (is_execute(q))
            deliver(r, message_error(header, fault));
        q->reply = message_error_reply(q->channel, q->type, header, fault);
    }
    if (!q->replied)
        give_reply(r, q);
    if (q->idle == NULL && (q->busy || is_execute(q)))
        q->idle = message_status(header, "idle");
    deliver(r, take_ptr(&q->idle));
    remove_request(r, q);
}

static void end_without_reply(struct requests *r, struct request *q)
{
    static const struct message_fault fault = {
        "NoReply", "the kernel has ended this request without a reply", NULL};

    end(r, q, &fault);
}

void requests_fail_all(struct requests *r, const struct message_fault *fault)
{
    while (!TAILQ_EMPTY(&r->list))
        end(r, TAILQ_FIRST(&r->list), fault);
    while (!TAILQ_EMPTY(&r->behind))
        deliver(r, pop_behind(r));
}

void requests_refuse(struct requests *r, const struct frame *frame,
                     const struct message_fault *fault)
{
    struct slice header = frame->parts.header;

    if (!str_ends(frame->type, "_request")) {
        deliver(r, message_error(header, fault));
        return;
    }
    deliver(r, message_status(header, "busy"));
    if (strcmp(frame->type, "execute_request") == 0)
        deliver(r, message_error(header, fault));
    deliver(r, message_error_reply(frame->channel, frame->type, header, fault));
    deliver(r, message_status(header, "idle"));
}

/* ---- what comes ------------------------------------------------------------------------------------ */

/* Ids may come twice, and kernels answer in order: the oldest that still waits for such a message. */
static struct request *find(const struct requests *r, const char *id, bool for_reply)
{
    struct request *q;

    TAILQ_FOREACH(q, &r->list, link)
    if (strcmp(q->id, id) == 0 && !(for_reply ? q->replied || q->reply : q->idle != NULL))
        return q;
    return NULL;
}

bool requests_has(const struct requests *r, const char *id)
{
    const struct request *q;

    TAILQ_FOREACH(q, &r->list, link)
    if (strcmp(q->id, id) == 0)
        return true;
    return false;
}

static void take_reply(struct requests *r, struct message *m, int64_t now_ms)
{
    struct request *q = find(r, m->parent_id, true);

    if (q == NULL) {
        message_free(m); /* nobody asked, or it was answered already */
        return;
    }
    q->reply = m;
    if (q->idle != NULL) {
        end(r, q, NULL); /* both are there */
    } else {
        q->due_ms = now_ms + REQUESTS_OUTPUT_MS;
    }
}

static void take_idle(struct requests *r, struct request *q, struct message *m, int64_t now_ms)
{
    q->idle = m;
    if (q->replied || q->reply != NULL) {
        end(r, q, NULL); /* both are there */
        return;
    }
    q->due_ms = now_ms + REQUESTS_REPLY_MS;
    q->waits = true;
    r->n_waiting++;
}

static void take_published(struct requests *r, struct message *m, int64_t now_ms)
{
    struct request *q = find(r, m->parent_id, false);
    bool is_idle = message_has_state(m, "idle");

    if (q != NULL && is_idle) {
        take_idle(r, q, m, now_ms);
    } else if (is_idle && requests_has(r, m->parent_id)) {
        message_free(m); /* a second one */
    } else {
        if (q != NULL)
            q->busy = true; /* whatever it puts out: the kernel is at work on it */
        deliver(r, m);
    }
}

/* An output whose idle came before it, and waits. */
static bool is_overtaken(const struct requests *r, const struct message *m)
{
    const struct request *q;

    if (r->n_waiting == 0 || strcmp(m->type, "status") == 0)
        return false;
    TAILQ_FOREACH(q, &r->list, link)
    if (q->waits && strcmp(q->id, m->parent_id) == 0)
        return true;
    return false;
}

/* all: whether or not they are still behind something. */
static void release(struct requests *r, bool all, int64_t now_ms)
{
    while ((all || r->n_waiting == 0) && !TAILQ_EMPTY(&r->behind))
        take_published(r, pop_behind(r), now_ms);
}

void requests_take(struct requests *r, struct message *m, int64_t now_ms)
{
    if (m->channel == CHANNEL_STDIN) {
        deliver(r, m);
    } else if (m->channel != CHANNEL_IOPUB) {
        take_reply(r, m, now_ms);
        release(r, false, now_ms);
    } else if (is_overtaken(r, m)) {
        deliver(r, m);
    } else if (r->n_waiting > 0 && r->behind_bytes + m->size <= REQUESTS_BEHIND_MAX) {
        TAILQ_INSERT_TAIL(&r->behind, m, link);
        r->behind_bytes += m->size;
    } else {
        release(r, true, now_ms);
        take_published(r, m, now_ms);
    }
}

struct slice requests_current(const struct requests *r)
{
    const struct request *q = TAILQ_FIRST(&r->list);

    return q != NULL ? header_of(q) : (struct slice){0};
}

/* ---- what does not come ------------------------------------------------------------------------------ */

static void late(struct requests *r, struct request *q, int64_t now_ms)
{
    if (q->reply != NULL) { /* its outputs have had their time; the idle may still come */
        give_reply(r, q);
        q->due_ms = now_ms + REQUESTS_IDLE_MS;
    } else {
        end_without_reply(r, q); /* or without idle */
    }
}

/* The oldest request that the kernel has not begun: it alone shows whether the kernel sleeps or has dropped it. Only the
 * time in which the kernel has nothing else to do counts. */
static int64_t check_begun(struct requests *r, int64_t now_ms, bool kernel_idle, bool *ret_wake)
{
    static const struct message_fault dropped = {"NoReply", "the kernel has dropped this request",
                                                 NULL};
    static const int64_t after_ms[] = {250, 1000, 4000, 6000}; /* the last one: given up */
    struct request *q = TAILQ_FIRST(&r->list);

    *ret_wake = false;
    if (q == NULL || q->busy || q->replied || q->reply != NULL || q->idle != NULL)
        return INT64_MAX;
    if (!kernel_idle) {
        q->waits_since_ms = now_ms;
        q->n_wakes = 0;
    } else if (now_ms >= q->waits_since_ms + after_ms[q->n_wakes]) {
        if (++q->n_wakes == ARRAY_LEN(after_ms)) {
            end(r, q, &dropped);
            return now_ms;
        }
        *ret_wake = true;
    }
    return q->waits_since_ms + after_ms[q->n_wakes];
}

void requests_postpone(struct requests *r, int64_t now_ms)
{
    struct request *q;

    TAILQ_FOREACH(q, &r->list, link)
    if (q->due_ms != INT64_MAX)
        q->due_ms = MAX(q->due_ms, now_ms + REQUESTS_REPLY_MS);
}

int64_t requests_tick(struct requests *r, int64_t now_ms, bool kernel_idle, bool *ret_wake)
{
    struct request *q = TAILQ_FIRST(&r->list);
    int64_t next = INT64_MAX;

    while (q != NULL) {
        struct request *following = TAILQ_NEXT(q, link);

        if (now_ms >= q->due_ms)
            late(r, q, now_ms);
        q = following;
    }
    release(r, false, now_ms);
    TAILQ_FOREACH(q, &r->list, link)
    next = MIN(next, q->due_ms);
    int64_t begun = check_begun(r, now_ms, kernel_idle, ret_wake);
    return MIN(next, begun);
}
