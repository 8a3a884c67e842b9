/* Answers about sockets: whatever the bytes, entries stay within the list and addresses are texts. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "execd/ports/scan.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct port_list *list)
{
    if (list->n > PORTS_MAX)
        abort();
    for (size_t i = 0; i < list->n; i++) {
        if (strnlen(list->items[i].address, sizeof(list->items[i].address)) ==
            sizeof(list->items[i].address))
            abort();
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct port_list list;
    char *text = malloc(size + 1);
    int error = 0;

    memcpy(text, data, size);
    text[size] = '\0';
    memset(&list, 0, sizeof(list));
    if (ports_parse_diag(data, size, &list, &error) && error != 0)
        abort();
    check(&list);
    memset(&list, 0, sizeof(list));
    ports_parse_proc(text, false, &list);
    ports_parse_proc(text, true, &list);
    check(&list);
    free(text);
    return 0;
}
