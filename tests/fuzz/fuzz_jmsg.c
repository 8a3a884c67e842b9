/*
 * Jupyter frames: any bytes, split into frames at each NUL, unsigned and signed. Whatever parses must stay within
 * the documented bounds, and its content must be an object or refused.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/code/jmsg.h"

#define FRAMES_MAX 70

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_session(const struct slice *frames, size_t n, const struct jmsg_session *session)
{
    struct jmsg msg;
    if (jmsg_parse(frames, n, session, &msg, NULL) < 0)
        return;
    if (strlen(msg.id) >= JMSG_ID_MAX || strlen(msg.parent_id) >= JMSG_ID_MAX ||
        strlen(msg.type) >= JMSG_TYPE_MAX)
        abort();
    if (msg.parts.header.len > JMSG_HEADER_MAX)
        abort();
    if (jmsg_load(&msg) == 0 && !json_is_object(msg.content))
        abort();
    jmsg_done(&msg);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct jmsg_session open_session, signed_session = {.key = "k"};
    struct slice frames[FRAMES_MAX];
    size_t n = 0, start = 0;
    for (size_t i = 0; i <= size && n < FRAMES_MAX; i++) {
        if (i == size || data[i] == '\0') {
            frames[n++] = (struct slice){(const char *)data + start, i - start};
            start = i + 1;
        }
    }
    try_session(frames, n, &open_session);
    try_session(frames, n, &signed_session);
    return 0;
}
