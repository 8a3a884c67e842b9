/*
 * What pages in browsers may do: which answers they may read, and who may ask where no key is asked for.
 * Thread rule: loop thread only. Source: contracts/jupyter.md 3.5.
 */
#pragma once

#include "server/api/api.h"

/* Before each answer: what pages in browsers may read. */
void cors_decorate(struct http_req *req, const struct api *api);
/* Where no key is asked for: not the pages of others, and under names only that nobody else can own, or server.eip's.
 * -EACCES with ERR_ORIGIN_NOT_ALLOWED or ERR_HOST_NOT_ALLOWED (403). */
int cors_check(const struct http_req *req, const struct api *api, struct err *err) must_check;
