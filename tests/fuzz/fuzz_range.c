/* Range headers: what is granted lies inside the representation. First 8 bytes: the size. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "proto/http/range.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint64_t total, first = 1, last = 0;
    char *header;

    if (size < sizeof(total))
        return 0;
    memcpy(&total, data, sizeof(total));
    header = malloc(size - sizeof(total) + 1);
    memcpy(header, data + sizeof(total), size - sizeof(total));
    header[size - sizeof(total)] = '\0';
    if (range_parse(header, total, &first, &last) == RANGE_PARTIAL &&
        (first > last || last >= total))
        abort();
    free(header);
    return 0;
}
