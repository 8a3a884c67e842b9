#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "proto/api/errors.h"
#include "server/service/lifecycle_priv.h"

/* The clear token is never stored: HMAC of a master key over the sandbox's name (hardening 6.1). */
void lifecycle_token(struct lifecycle *lc, const struct sandbox *sb, char out[TOKEN_TEXT_SIZE])
{
    char message[96];
    uint8_t mac[SHA256_LEN];

    int n = snprintf(message, sizeof(message), "execd-v1|%s|%u", sb->id, sb->epoch);
    codec_hmac_sha256(lc->master, sizeof(lc->master), message, (size_t)n, mac);
    codec_base64url(mac, sizeof(mac), out);
}

void tokens_verifier(struct lifecycle *lc, const struct sandbox *sb, char out[SHA256_HEX_LEN + 1])
{
    char token[TOKEN_TEXT_SIZE];
    uint8_t hash[SHA256_LEN];

    lifecycle_token(lc, sb, token);
    codec_sha256(token, strlen(token), hash);
    explicit_bzero(token, sizeof(token));
    codec_hex(hash, sizeof(hash), out);
}

int tokens_load(struct lifecycle *lc, struct err *err)
{
    char hex[sizeof(lc->master) * 2 + 1];

    int rc = store_get_value(lc->store, "master_key", hex, sizeof(hex), err);

    /* A key that is there but cannot be read is never replaced: running sandboxes know only its tokens. */
    if (rc == 0 && codec_unhex(hex, lc->master, sizeof(lc->master)) < 0)
        rc = err_set(err, ERR_STORE_FAILED, EINVAL, "the stored master key is damaged");
    if (rc == -ENOENT) {
        ids_random(lc->master, sizeof(lc->master));
        codec_hex(lc->master, sizeof(lc->master), hex);
        rc = store_put_value(lc->store, "master_key", hex, err);
    }
    explicit_bzero(hex, sizeof(hex));
    return rc;
}
