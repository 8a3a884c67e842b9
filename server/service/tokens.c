#include <stdio.h>
#include <string.h>

#include "proto/base/clock.h"
#include "server/service/lifecycle_priv.h"

/* The clear token is never stored: HMAC of a master key over the sandbox's name (hardening 6.1). */
void lifecycle_token(struct lifecycle *lc, const struct sandbox *sb, char out[44])
{
    char message[96];
    uint8_t mac[SHA256_LEN];

    int n = snprintf(message, sizeof(message), "execd-v1|%s|%u", sb->id, sb->epoch);
    codec_hmac_sha256(lc->master, sizeof(lc->master), message, (size_t)n, mac);
    codec_base64url(mac, sizeof(mac), out);
}

void tokens_verifier(struct lifecycle *lc, const struct sandbox *sb, char out[SHA256_HEX_LEN + 1])
{
    char token[44];
    uint8_t hash[SHA256_LEN];

    lifecycle_token(lc, sb, token);
    codec_sha256(token, strlen(token), hash);
    explicit_bzero(token, sizeof(token));
    codec_hex(hash, sizeof(hash), out);
}

int tokens_load(struct lifecycle *lc, struct err *err)
{
    char hex[sizeof(lc->master) * 2 + 1];

    if (store_get_value(lc->store, "master_key", hex, sizeof(hex)) == 0 &&
        codec_unhex(hex, lc->master, sizeof(lc->master)) == 0) {
        explicit_bzero(hex, sizeof(hex));
        return 0;
    }
    ids_random(lc->master, sizeof(lc->master));
    codec_hex(lc->master, sizeof(lc->master), hex);
    int rc = store_put_value(lc->store, "master_key", hex, err);
    explicit_bzero(hex, sizeof(hex));
    return rc;
}
