#include "server/runtime/native/caps.h"

#include <errno.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define CAP_LIMIT 64 /* the kernel refuses numbers beyond its last one */

const uint8_t caps_kept[] = {
    CAP_CHOWN,   CAP_DAC_OVERRIDE, CAP_FOWNER,           CAP_FSETID,
    CAP_KILL,    CAP_SETGID,       CAP_SETUID,           CAP_SETPCAP,
    CAP_SETFCAP, CAP_SYS_CHROOT,   CAP_NET_BIND_SERVICE,
};
const size_t caps_n_kept = ARRAY_LEN(caps_kept);

uint64_t caps_mask(void)
{
    uint64_t mask = 0;

    for (size_t i = 0; i < caps_n_kept; i++)
        mask |= UINT64_C(1) << caps_kept[i];
    return mask;
}

uint64_t caps_grant(void)
{
    return UINT64_C(1) << CAP_SYS_ADMIN | UINT64_C(1) << CAP_NET_ADMIN;
}

static int drop_bounding(uint64_t keep)
{
    for (unsigned long cap = 0; cap < CAP_LIMIT; cap++) {
        if ((keep >> cap & 1) != 0)
            continue;
        if (prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return errno == EINVAL ? 0 : -errno; /* EINVAL: past the kernel's last capability */
    }
    return 0;
}

int caps_apply(uint64_t keep)
{
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {
        {.effective = (uint32_t)keep, .permitted = (uint32_t)keep},
        {.effective = (uint32_t)(keep >> 32), .permitted = (uint32_t)(keep >> 32)},
    };

    int rc = drop_bounding(keep);
    if (rc < 0)
        return rc;
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        return -errno;
    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}
