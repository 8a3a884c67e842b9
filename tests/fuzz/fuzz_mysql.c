/*
 * Packets of a MySQL server: none is read behind its end, and what is made of a value is JSON that our own parser takes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/sql/mysql_packet.h"
#include "proto/json/jfield.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_row(struct slice row, unsigned type, unsigned charset)
{
    const struct mysql_column column = {.type = type, .charset = charset};
    struct slice cell;
    struct strbuf out;

    strbuf_init(&out, 1u << 20);
    strbuf_addc(&out, '[');
    for (size_t n = 0; row.len > 0 && mysql_read_cell(&row, &cell) == 0; n++) {
        if (n > 0)
            strbuf_addc(&out, ',');
        mysql_value_json(&out, &column, cell);
    }
    strbuf_addc(&out, ']');
    json_t *json = NULL;
    if (strbuf_check(&out) == 0 && json_parse(out.data, out.len, &json, 0, NULL) < 0)
        abort();
    json_decref(json);
    strbuf_done(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice packet = {(const char *)data, size};
    struct mysql_greeting greeting = {0};
    struct mysql_failure failure;
    struct mysql_column column;
    struct mysql_ok ok;
    unsigned status;
    uint64_t n;

    (void)mysql_kind(packet);
    if (mysql_read_greeting(packet, &greeting) == 0 && strlen(greeting.plugin) > MYSQL_NAME_MAX)
        abort();
    (void)!mysql_read_switch(packet, &greeting);
    if (mysql_read_failure(packet, &failure) == 0 && strlen(failure.state) > 5)
        abort();
    (void)!mysql_read_ok(packet, &ok);
    (void)!mysql_read_eof(packet, &status);
    (void)!mysql_read_count(packet, &n);
    if (mysql_read_column(packet, &column) == 0 && column.name.len > size)
        abort();
    if (size > 2)
        try_row((struct slice){packet.ptr + 2, size - 2}, data[0], data[1]);
    return 0;
}
