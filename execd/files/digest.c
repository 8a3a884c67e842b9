#include "execd/files/digest.h"

#include <errno.h>
#include <unistd.h>

#define PIECE (64 * 1024)
#define STEP (8 * 1024 * 1024) /* bytes */

void digest_init(struct digest *d)
{
    *d = (struct digest){0};
    sha256_init(&d->hash);
}

int digest_step(struct digest *d, int fd)
{
    uint8_t piece[PIECE];

    for (size_t done = 0; done < STEP;) {
        ssize_t n = pread(fd, piece, sizeof(piece), (off_t)d->offset);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 ? -errno : 0;
        sha256_update(&d->hash, (size_t)n, piece);
        d->offset += (uint64_t)n;
        done += (size_t)n;
    }
    return 1;
}

void digest_end(struct digest *d, uint8_t out[SHA256_LEN])
{
    sha256_digest(&d->hash, SHA256_LEN, out);
}
