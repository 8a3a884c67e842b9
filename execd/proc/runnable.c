#include "execd/proc/runnable.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "proto/base/fd.h"

#define THREADS_MAX 256
#define TEXT_MAX 1024

/* "tid (comm) S ...": comm may hold anything, so the last parenthesis counts. */
bool proc_state_is_runnable(const char *stat_line)
{
    const char *at = strrchr(stat_line, ')');
    return at != NULL && at[1] == ' ' && (at[2] == 'R' || at[2] == 'D');
}

static bool thread_is_runnable(int tasks_fd, const char *tid)
{
    char path[32], text[TEXT_MAX];
    (void)snprintf(path, sizeof(path), "%.20s/stat", tid); /* fits */
    return fd_slurp_at(tasks_fd, path, text, sizeof(text)) >= 0 && proc_state_is_runnable(text);
}

bool proc_is_runnable(pid_t pid)
{
    char path[32], own[16];
    (void)snprintf(path, sizeof(path), "/proc/%d/task", pid); /* both fit */
    (void)snprintf(own, sizeof(own), "%d", gettid());
    DIR *tasks = opendir(path);
    if (tasks == NULL)
        return false;
    bool found = false;
    const struct dirent *entry;
    for (int n = 0; !found && n < THREADS_MAX && (entry = readdir(tasks)) != NULL; n++)
        found = entry->d_name[0] != '.' && strcmp(entry->d_name, own) != 0 &&
                thread_is_runnable(dirfd(tasks), entry->d_name);
    closedir(tasks);
    return found;
}
