/* Floors that need more than a few lines: namespaces alone, and a server that only answers. */
#include "bench.h"

#include <arpa/inet.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

/* N: a process in the namespaces of a sandbox, from clone3 to its end. */
int floor_clone(char **argv)
{
    struct clone_args args = {
        .flags = CLONE_NEWUSER | CLONE_NEWPID | CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWIPC |
                 CLONE_NEWUTS | CLONE_NEWCGROUP,
        .exit_signal = SIGCHLD,
    };
    for (int i = 0; i < atoi(argv[0]); i++) {
        long long start = now_ns();
        long pid = syscall(SYS_clone3, &args, sizeof(args));
        if (pid < 0)
            die("clone3");
        if (pid == 0)
            _exit(0);
        wait_for((pid_t)pid);
        printf("%lld\n", now_ns() - start);
    }
    return 0;
}

static void answer_forever(int listener, const char *response, size_t len)
{
    struct epoll_event events[64], wanted = {.events = EPOLLIN, .data.fd = listener};
    int poll = epoll_create1(EPOLL_CLOEXEC);
    char request[4096];
    epoll_ctl(poll, EPOLL_CTL_ADD, listener, &wanted);
    for (;;) {
        int n = epoll_wait(poll, events, 64, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                wanted.data.fd = accept(listener, NULL, NULL);
                epoll_ctl(poll, EPOLL_CTL_ADD, wanted.data.fd, &wanted);
            } else if (read(fd, request, sizeof(request)) > 0) {
                send_all(fd, response, len);
            } else {
                close(fd);
            }
        }
    }
}

/* A process that answers whatever arrives with the same bytes: what the sockets of this machine cost alone. */
pid_t floor_serve(const char *response, size_t len, int *ret_port)
{
    struct sockaddr_in addr = {.sin_family = AF_INET};
    socklen_t size = sizeof(addr);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (struct sockaddr *)&addr, size) < 0 || listen(listener, 64) < 0 ||
        getsockname(listener, (struct sockaddr *)&addr, &size) < 0)
        die("listen");
    *ret_port = ntohs(addr.sin_port);
    pid_t pid = fork();
    if (pid < 0)
        die("fork");
    if (pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        answer_forever(listener, response, len);
    }
    close(listener);
    return pid;
}
