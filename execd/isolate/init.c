#include "execd/isolate/init.h"

#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "execd/harden/confine.h"
#include "execd/isolate/program.h"
#include "execd/isolate/view.h"
#include "proto/base/fd.h"
#include "proto/base/mem.h"
#include "proto/base/str.h"

#define EXIT_SETUP 125
#define PATH_BYTES 4096

struct init {
    struct arena arena;
    struct isolate_plan plan;
    struct view view;
    struct program program;
    char cwd[PATH_BYTES];
    int signals;  /* signalfd */
    int mount_ns; /* for whoever looks at the session's files from outside */
};

static int read_plan(struct init *init, struct err *err)
{
    uint32_t len = 0;
    ssize_t n = fd_read_full(ISOLATE_CONTROL_FD, &len, sizeof(len));

    if (n != (ssize_t)sizeof(len) || len > ISOLATE_PLAN_MAX)
        return err_set(err, 0, EPROTO, "no plan on the control socket");
    char *text = arena_alloc(&init->arena, len + 1);
    if (text == NULL || fd_read_full(ISOLATE_CONTROL_FD, text, len) != (ssize_t)len)
        return err_set(err, 0, EPROTO, "a broken plan on the control socket");
    return isolate_plan_decode(text, len, &init->arena, &init->plan, err);
}

static int answer(const struct isolate_reply *reply)
{
    size_t len;
    cleanup_free char *text = isolate_reply_encode(reply, &len);

    if (text == NULL)
        return -ENOMEM;
    int rc = fd_write_all(ISOLATE_CONTROL_FD, text, len);
    return rc == 0 ? fd_write_all(ISOLATE_CONTROL_FD, "\n", 1) : rc;
}

/* Ahead of the answer: nobody but we ourselves may open it. */
static int hand_over(int mount_ns, struct err *err)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {0};
    char blank = ' '; /* before the JSON it means nothing */
    struct iovec iov = {&blank, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = control,
                         .msg_controllen = sizeof(control)};
    struct cmsghdr *c = CMSG_FIRSTHDR(&msg);

    c->cmsg_level = SOL_SOCKET;
    c->cmsg_type = SCM_RIGHTS;
    c->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(c), &mount_ns, sizeof(int));
    return sendmsg(ISOLATE_CONTROL_FD, &msg, MSG_NOSIGNAL) == 1
               ? 0
               : err_sys(err, 0, errno, "hand over the mount namespace");
}

static int refuse(const struct err *err)
{
    /* Nobody to tell when execd is gone: the exit code is left. */
    (void)!answer(&(struct isolate_reply){.ok = false, .message = err->text});
    return EXIT_SETUP;
}

/* A network namespace begins with its loopback down. */
static int raise_loopback(struct err *err)
{
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    cleanup_fd int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &request) < 0)
        return err_sys(err, 0, errno, "bring the loopback interface up");
    return 0;
}

static int make_namespaces(const struct isolate_plan *plan, struct err *err)
{
    int flags = CLONE_NEWNS | CLONE_NEWIPC | CLONE_NEWUTS | (plan->share_net ? 0 : CLONE_NEWNET);

    if (unshare(flags) < 0)
        return err_sys(err, 0, errno, "make namespaces%s",
                       errno == EPERM ? " (needs CAP_SYS_ADMIN)" : "");
    return plan->share_net ? 0 : raise_loopback(err);
}

/* Blocked for good and read from the descriptor; the program gets an empty mask. */
static int open_signals(struct init *init, struct err *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 ||
        (init->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK)) < 0)
        return err_sys(err, 0, errno, "listen for signals");
    return 0;
}

/* The directory that the program starts in was entered before there were any mounts. */
static void enter_again(struct init *init)
{
    const struct isolate_mount *first = init->plan.mounts.items;

    if (chdir(init->cwd) == 0 || (init->plan.mounts.n > 0 && chdir(first->path) == 0))
        return;
    (void)!chdir("/");
}

static int set_up(struct init *init, struct err *err)
{
    int rc = make_namespaces(&init->plan, err);

    if (getcwd(init->cwd, sizeof(init->cwd)) == NULL)
        memcpy(init->cwd, "/", sizeof("/"));
    if (rc == 0 && (init->mount_ns = open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC)) < 0)
        rc = err_sys(err, 0, errno, "open the mount namespace");
    if (rc == 0)
        rc = view_prepare(&init->plan, &init->view, err);
    if (rc == 0)
        rc = view_build(&init->plan, &init->view, err);
    if (rc == 0)
        enter_again(init);
    return rc;
}

/* Takes every status; the program's ends us. -1 = it lives. */
static int reap(pid_t program)
{
    int status, code = -1;
    pid_t pid;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
        if (pid == program)
            code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return code;
}

static int serve(struct init *init, pid_t program)
{
    struct signalfd_siginfo info;
    struct pollfd fds[] = {{.fd = init->signals, .events = POLLIN},
                           {.fd = ISOLATE_CONTROL_FD, .events = POLLIN}};

    for (;;) {
        int code = reap(program);
        if (code >= 0)
            return code;
        if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
            return EXIT_SETUP;
        while (read(init->signals, &info, sizeof(info)) > 0)
            ;
        char byte;
        if (fds[1].revents != 0 && read(ISOLATE_CONTROL_FD, &byte, 1) <= 0)
            return EXIT_SETUP; /* execd let go of the session */
    }
}

int isolate_init_main(int argc, char **argv)
{
    struct init init = {.signals = -1, .mount_ns = -1};
    struct err err = {.text = ""};
    struct isolate_reply reply = {.ok = true};
    pid_t program;

    arena_init(&init.arena);
    if (prctl(PR_SET_DUMPABLE, 0) < 0 || fcntl(ISOLATE_CONTROL_FD, F_SETFD, FD_CLOEXEC) < 0)
        return EXIT_SETUP;
    if (read_plan(&init, &err) < 0 || set_up(&init, &err) < 0 || open_signals(&init, &err) < 0 ||
        program_prepare(&init.program, &init.plan, init.view.proc, &err) < 0)
        return refuse(&err);
    reply.own_proc = init.view.own_proc;
    reply.seccomp = true;
    reply.landlock = confine_landlock_abi();
    reply.userns = init.plan.probe && unshare(CLONE_NEWUSER) == 0;
    if (init.plan.probe)
        return answer(&reply) < 0 ? EXIT_SETUP : EXIT_SUCCESS;
    if (argc < 3)
        return EXIT_SETUP;
    if (program_start(&init.program, argv + 2, &program, &err) < 0)
        return refuse(&err);
    view_done(&init.view);
    if (hand_over(init.mount_ns, &err) < 0 || answer(&reply) < 0)
        return EXIT_SETUP;
    close(init.mount_ns);
    return serve(&init, program);
}
