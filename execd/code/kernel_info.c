#include "execd/code/kernel_info.h"

#include <string.h>

#include "proto/base/str.h"

static void copy(const json_t *object, const char *key, char *buf, size_t size)
{
    const char *text = json_string_value(json_object_get(object, key));
    size_t len = text ? utf8_cut(text, strlen(text), size - 1) : 0;
    memcpy(buf, text ? text : "", len);
    buf[len] = '\0';
}

void kernel_info_read(const json_t *content, struct kernel_info *ret_info)
{
    const json_t *language = json_object_get(content, "language_info");
    struct kernel_info *info = ret_info;
    copy(content, "protocol_version", info->protocol_version, sizeof(info->protocol_version));
    copy(content, "implementation", info->implementation, sizeof(info->implementation));
    copy(content, "implementation_version", info->implementation_version,
         sizeof(info->implementation_version));
    copy(language, "name", info->language, sizeof(info->language));
    copy(language, "version", info->language_version, sizeof(info->language_version));
}
