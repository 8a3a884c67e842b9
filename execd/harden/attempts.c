#include "execd/harden/attempts.h"

#include <stdio.h>
#include <string.h>

#define REFILL_MS 1000

/* Without the port, which is another one for each connection. */
static void address_of(const char *peer, char *buf, size_t size)
{
    const char *colon = strrchr(peer, ':');
    snprintf(buf, size, "%.*s", colon != NULL ? (int)(colon - peer) : (int)strlen(peer), peer);
}

static struct attempts_peer *find(struct attempts *a, const char *address, int64_t now_ms)
{
    struct attempts_peer *oldest = &a->peers[0];
    for (size_t i = 0; i < ATTEMPTS_PEERS; i++) {
        struct attempts_peer *p = &a->peers[i];
        if (strcmp(p->address, address) == 0)
            return p;
        if (p->filled_ms < oldest->filled_ms)
            oldest = p;
    }
    *oldest = (struct attempts_peer){.filled_ms = now_ms, .left = ATTEMPTS_BURST};
    snprintf(oldest->address, sizeof(oldest->address), "%s", address);
    return oldest;
}

bool attempts_take(struct attempts *a, const char *peer, int64_t now_ms, bool *ret_first)
{
    char address[sizeof(a->peers[0].address)];
    address_of(peer, address, sizeof(address));
    struct attempts_peer *p = find(a, address, now_ms);
    int64_t refilled = (now_ms - p->filled_ms) / REFILL_MS;
    if (refilled > 0) {
        p->left = (int)MIN(p->left + refilled, (int64_t)ATTEMPTS_BURST);
        p->filled_ms += refilled * REFILL_MS;
        p->told = p->told && p->left < ATTEMPTS_BURST;
    }
    *ret_first = p->left == 0 && !p->told;
    if (p->left == 0) {
        p->told = true;
        return false;
    }
    p->left--;
    return true;
}
