#include "execd/files/owner.h"

#include <errno.h>

#include "execd/proc/users.h"

int owner_find(const char *user, const char *group, int err_code, struct place_owner *ret_owner,
               struct err *err)
{
    struct place_owner owner = {(uid_t)-1, (gid_t)-1};
    struct user found;

    if (user != NULL && user[0] != '\0') {
        if (users_by_name(user, &found) < 0)
            return err_set(err, err_code, EINVAL, "unknown owner '%.64s'", user);
        owner.uid = found.uid;
    }
    if (group != NULL && group[0] != '\0' && users_group_by_name(group, &owner.gid) < 0)
        return err_set(err, err_code, EINVAL, "unknown group '%.64s'", group);
    *ret_owner = owner;
    return 0;
}

bool owner_is_wished(const struct place_owner *owner)
{
    return owner->uid != (uid_t)-1 || owner->gid != (gid_t)-1;
}
