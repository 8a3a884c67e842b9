#include "server/model/labels.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "proto/api/errors.h"
#include "proto/base/str.h"

#define LABEL_NAME_MAX 63
#define LABEL_PREFIX_MAX 253
#define LABEL_RESERVED "opensandbox.io/"

static bool is_alnum(char c)
{
    return isalnum((unsigned char)c) != 0 && (unsigned char)c < 0x80;
}

/* [A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?, at most 63 */
static bool name_is_valid(const char *s, size_t len)
{
    if (len == 0 || len > LABEL_NAME_MAX || !is_alnum(s[0]) || !is_alnum(s[len - 1]))
        return false;
    for (size_t i = 0; i < len; i++) {
        if (!is_alnum(s[i]) && strchr("-_.", s[i]) == NULL)
            return false;
    }
    return true;
}

/* Dot-separated lower-case DNS labels. */
static bool prefix_is_valid(const char *s, size_t len)
{
    if (len == 0 || len > LABEL_PREFIX_MAX)
        return false;
    bool after_edge = true; /* a label must begin and end alphanumeric */
    for (size_t i = 0; i < len; i++) {
        bool alnum = is_alnum(s[i]) && !isupper((unsigned char)s[i]);
        if (!alnum && (after_edge || (s[i] != '-' && s[i] != '.')))
            return false;
        if (s[i] == '.' && !is_alnum(s[i - 1]))
            return false;
        after_edge = s[i] == '.';
    }
    return is_alnum(s[len - 1]);
}

int label_check(const char *key, const char *value, struct err *err)
{
    const char *slash = strchr(key, '/');
    const char *name = slash != NULL ? slash + 1 : key;

    if (str_starts(key, LABEL_RESERVED))
        return err_set(err, ERR_INVALID_METADATA_LABEL, EINVAL,
                       "metadata key '%.80s': the prefix opensandbox.io/ is reserved", key);
    if ((slash != NULL && !prefix_is_valid(key, (size_t)(slash - key))) ||
        !name_is_valid(name, strlen(name)))
        return err_set(err, ERR_INVALID_METADATA_LABEL, EINVAL,
                       "metadata key '%.80s' is not a valid label key ([prefix/]name, name ≤ 63 of "
                       "letters, digits, '-', '_', '.')",
                       key);
    if (value != NULL && value[0] != '\0' && !name_is_valid(value, strlen(value)))
        return err_set(err, ERR_INVALID_METADATA_LABEL, EINVAL,
                       "metadata value of '%.80s' is not a valid label value (≤ 63 of letters, "
                       "digits, '-', '_', '.')",
                       key);
    return 0;
}
