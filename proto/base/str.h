/*
 * Text: strict number parsing, prefix tests, UTF-8 repair, and a bounded growing buffer.
 *
 * Thread rule: any thread; a strbuf belongs to its owner.
 */
#pragma once

#include "proto/base/defs.h"

bool str_starts(const char *s, const char *prefix);
bool str_ends(const char *s, const char *suffix);
bool str_eq_nocase(const char *a, const char *b);

int str_hex_digit(char c); /* its value, -1: it is none */
/* Whole text must be one decimal integer ("+", blanks, hex, empty are refused). -EINVAL, -ERANGE. */
int str_to_u64(const char *s, uint64_t *ret_value) must_check;
int str_to_i64(const char *s, int64_t *ret_value) must_check;
int str_to_u32(const char *s, uint32_t *ret_value) must_check;
int str_to_bool(const char *s,
                bool *ret_value) must_check; /* 1/0 true/false yes/no on/off, any case */

/* A decimal count of seconds or a Go-like duration ("200ms", "1s", "1m30s", "1h", "500us");
 * result in ms, exact or -EINVAL/-ERANGE. */
int str_to_duration_ms(const char *s, int64_t *ret_ms) must_check;

/* "512Mi", "1G", "1.5Gi", "200k", "1048576" → bytes, exact or -EINVAL/-ERANGE. Binary and decimal
 * suffixes k M G T P (optional B / i / iB), any case; fractions only when the result is whole. */
int str_to_bytes(const char *s, uint64_t *ret_bytes) must_check;

/* "500m", "2", "0.5" → thousandths of a CPU (> 0). -EINVAL for nan, inf, exponents, negatives. */
int str_to_millicpu(const char *s, uint64_t *ret_millicpu) must_check;

/* Length of the valid UTF-8 sequence at p (1..4), 0 if invalid, or negative: -n more bytes needed. */
int utf8_sequence(const char *p, size_t len);
bool utf8_is_valid(const char *p, size_t len);
/* Length of at most max bytes of the text that do not cut a character; max is at least 4. What is no UTF-8 is cut
 * anywhere. */
size_t utf8_cut(const char *p, size_t len, size_t max);

/* Growing byte buffer with a ceiling; data is always NUL-terminated behind len. */
struct strbuf {
    char *data; /* owned; NULL while empty */
    size_t len, cap;
    size_t max;     /* ceiling in bytes; 0 = 1 MiB */
    bool failed;    /* ceiling hit or memory exhausted: later appends are ignored */
    bool no_memory; /* failed for that */
};
void strbuf_init(struct strbuf *b, size_t max);
void strbuf_done(struct strbuf *b);
void strbuf_reset(struct strbuf *b); /* keeps the memory, clears failed */
void strbuf_add(struct strbuf *b, const void *p, size_t n);
void strbuf_adds(struct strbuf *b, const char *s);
void strbuf_addc(struct strbuf *b, char c);
/* Text in which every byte that is not part of valid UTF-8 becomes U+FFFD: three bytes for one at most. */
void strbuf_add_repaired(struct strbuf *b, const char *p, size_t n);
void strbuf_addf(struct strbuf *b, const char *fmt, ...) printf_like(2, 3);
/* 0, or -EOVERFLOW or -ENOMEM when anything was dropped: check once after the last append. */
int strbuf_check(const struct strbuf *b) must_check;
/* The text, ownership to the caller; NULL if failed. The buffer is empty afterwards. */
char *strbuf_take(struct strbuf *b);

#define cleanup_strbuf __attribute__((cleanup(strbuf_done)))
