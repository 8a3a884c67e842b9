#include "execd/files/info.h"

#include <errno.h>
#include <fcntl.h>

#include "execd/files/facts.h"
#include "execd/files/place.h"
#include "proto/api/errors.h"
#include "proto/json/json_load.h"

int file_mode_from_digits(int64_t digits, unsigned *ret_mode)
{
    unsigned mode = 0, shift = 0;

    if (digits < 0 || digits > 7777)
        return -EINVAL;
    for (; digits > 0; digits /= 10, shift += 3) {
        unsigned digit = (unsigned)(digits % 10);
        if (digit > 7)
            return -EINVAL;
        mode |= digit << shift;
    }
    *ret_mode = mode;
    return 0;
}

int file_info(const char *path, json_t **ret_info, struct err *err)
{
    struct file_facts facts;
    struct owner_names names = {0};
    cleanup_strbuf struct strbuf text;

    int rc = file_facts_at(AT_FDCWD, path, &facts);
    strbuf_init(&text, 0);
    if (place_is_missing(-rc))
        return err_sys(err, ERR_FILE_NOT_FOUND, -rc, "file not found. '%s'", path);
    if (rc < 0)
        return err_sys(err, ERR_FILE_ACCESS, -rc, "error accessing file: '%s'", path);
    owner_names_learn(&names, facts.uid, facts.gid);
    file_facts_json(&text, path, &facts, owner_names_user(&names, facts.uid),
                    owner_names_group(&names, facts.gid));
    *ret_info =
        strbuf_check(&text) == 0 ? json_load_tolerant((struct slice){text.data, text.len}) : NULL;
    return *ret_info != NULL ? 0
                             : err_set(err, ERR_OUT_OF_MEMORY, ENOMEM, "no memory for '%s'", path);
}
