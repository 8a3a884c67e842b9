/*
 * The folder of one sandbox below state_dir/sandboxes/<id>: layers, socket, log, state.
 *
 *   fs/upper fs/work   layers of the overlay, owned by the sandbox's root user
 *   io/execd.sock      execd's listener; only the host sees it: the listening descriptor is handed over
 *   execd.log          standard output and error of execd
 *   state.json         what is needed to find or to clean up the sandbox after a crash
 * Thread rule: any thread (descriptors and values); folder_delete may take long and belongs on a worker.
 */
#pragma once

#include "proto/base/err.h"
#include "server/model/sandbox.h"

#define FOLDER_LOG "execd.log"

struct folder_state {
    pid_t pid;           /* 0 = not started yet */
    uint64_t start_time; /* clock ticks after boot, field 22 of /proc/pid/stat */
    const char *boot_id;
    struct jstrings groups; /* absolute paths */
};

/* Makes the folder with all but state.json; the root of the upper layer takes mode and, shifted, owner of the image's.
 * *ret_fs_fd holds fs/. -EEXIST when the id is taken. */
int folder_make(int sandboxes_fd, const char *id, const char *rootfs, uint32_t uid_base,
                int *ret_fs_fd, struct err *err) must_check;
int folder_open_log(int sandboxes_fd, const char *id) must_check; /* append-only, or -errno */
/* A listening, non-blocking Unix socket at io/execd.sock; path is sandboxes_fd's short name for it. */
int folder_listen(int sandboxes_fd, const char *id, struct err *err) must_check;
/* "/proc/self/fd/N/<id>/io/execd.sock": short enough for a Unix address wherever the state directory lies. */
int folder_socket_path(int sandboxes_fd, const char *id, char *out, size_t size) must_check;

/* The JSON text that is both state.json and the runtime's data in the store. In the arena; NULL = no memory. */
const char *folder_state_text(const struct folder_state *state, struct arena *arena);
int folder_state_parse(const char *text, struct arena *arena, struct folder_state *ret_state,
                       struct err *err) must_check;
int folder_write_state(int sandboxes_fd, const char *id, const char *text) must_check; /* atomic */
int folder_read_state(int sandboxes_fd, const char *id, struct arena *arena,
                      struct folder_state *ret_state, struct err *err) must_check;

/* Removes the folder and everything in it, whatever its owner made of it. 0 when it is not there. */
int folder_delete(int sandboxes_fd, const char *id) must_check;

/* Cuts the log down to nothing when it has grown beyond max bytes. */
void folder_trim_log(int sandboxes_fd, const char *id, uint64_t max);

/* Start time of a process, 0 when there is none. */
uint64_t folder_process_start(pid_t pid);
/* Is it on its way out, but not gone: for PID 1 of a sandbox, waiting for the others to die? */
bool folder_process_is_ending(pid_t pid);
