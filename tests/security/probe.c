/*
 * Runs inside a sandbox and tries what must not work. One line per attempt: "name result", where the result is an
 * errno name, "ok", or the signal that ended the attempt. Static, so that it needs nothing of the image.
 *
 *   probe census              every system call number with all arguments -1
 *   probe syscalls            the refused arguments of allowed calls
 *   probe open FILE...        opening for writing
 *   probe foreign             entries of other architectures
 *   probe families            socket families and netlink protocols
 *   probe exhaust NAME        takes all of something that it gets, says how much and why no more, and keeps it
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <mqueue.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#define CENSUS_LAST 470

static void say(const char *name, long rc)
{
    printf("%s %s\n", name, rc < 0 ? strerrorname_np(errno) : "ok");
    fflush(stdout);
}

/* In a process of its own: it may exit, block or be killed. */
static void census_one(long number)
{
    int status, fds[2], result = 0;

    if (pipe(fds) < 0)
        return;
    pid_t pid = fork();
    if (pid == 0) {
        struct itimerval soon = {.it_value.tv_usec = 20000};
        setitimer(ITIMER_REAL, &soon, NULL);
        long rc = syscall(number, -1L, -1L, -1L, -1L, -1L, -1L);
        int error = rc < 0 ? errno : 0;
        (void)!write(fds[1], &error, sizeof(error));
        _exit(0);
    }
    close(fds[1]);
    ssize_t n = read(fds[0], &result, sizeof(result));
    close(fds[0]);
    waitpid(pid, &status, 0);
    const char *what = "allowed";
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
        what = "killed";
    else if (n == sizeof(result) && (result == EPERM || result == ENOSYS))
        what = strerrorname_np(result);
    printf("%ld %s\n", number, what);
}

static void census(void)
{
    for (long number = 0; number <= CENSUS_LAST; number++) {
        /* These return twice or destroy the stack of whoever calls them without arguments. */
        if (number == SYS_vfork || number == SYS_fork || number == SYS_rt_sigreturn)
            continue;
        census_one(number);
    }
}

static void namespaces(void)
{
    static const struct {
        const char *name;
        unsigned long flag;
    } flags[] = {{"user", CLONE_NEWUSER},     {"pid", CLONE_NEWPID},  {"mount", CLONE_NEWNS},
                 {"net", CLONE_NEWNET},       {"ipc", CLONE_NEWIPC},  {"uts", CLONE_NEWUTS},
                 {"cgroup", CLONE_NEWCGROUP}, {"time", CLONE_NEWTIME}};
    char name[64];

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++) {
        snprintf(name, sizeof(name), "unshare_%s", flags[i].name);
        say(name, syscall(SYS_unshare, flags[i].flag));
        if (flags[i].flag == CLONE_NEWTIME) /* its bit is part of the exit signal in clone */
            continue;
        snprintf(name, sizeof(name), "clone_%s", flags[i].name);
        long pid = syscall(SYS_clone, flags[i].flag | SIGCHLD, 0, 0, 0, 0);
        if (pid == 0)
            _exit(0);
        say(name, pid);
    }
    struct clone_args args = {.exit_signal = SIGCHLD};
    say("clone3", syscall(SYS_clone3, &args, sizeof(args)));
    int self = open("/proc/self/ns/net", O_RDONLY);
    say("setns", syscall(SYS_setns, self, 0));
}

static void sockets(void)
{
    static const struct {
        const char *name;
        long family, type, protocol;
    } tries[] = {
        {"socket_unix", AF_UNIX, SOCK_STREAM, 0},
        {"socket_inet", AF_INET, SOCK_STREAM, 0},
        {"socket_inet6", AF_INET6, SOCK_DGRAM, 0},
        {"socket_route", AF_NETLINK, SOCK_RAW, 0},
        {"socket_netfilter", AF_NETLINK, SOCK_RAW, 12},
        {"socket_audit", AF_NETLINK, SOCK_RAW, 9},
        {"socket_uevent", AF_NETLINK, SOCK_RAW, 15},
        {"socket_packet", AF_PACKET, SOCK_RAW, 0},
        {"socket_raw", AF_INET, SOCK_RAW, 1},
        {"socket_alg", AF_ALG, SOCK_SEQPACKET, 0},
        {"socket_vsock", AF_VSOCK, SOCK_STREAM, 0},
        {"socket_xdp", 44, SOCK_RAW, 0},
        {"socket_tipc", AF_TIPC, SOCK_STREAM, 0},
        {"socket_key", AF_KEY, SOCK_RAW, 2},
        {"socket_bluetooth", AF_BLUETOOTH, SOCK_RAW, 0},
        {"socket_alg_high", AF_ALG | 1L << 32, SOCK_SEQPACKET, 0},
        {"socket_vsock_high", AF_VSOCK | 1L << 40, SOCK_STREAM, 0},
        {"socket_netlink_high", AF_NETLINK | 1L << 32, SOCK_RAW, 9},
    };

    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++)
        say(tries[i].name, syscall(SYS_socket, tries[i].family, tries[i].type, tries[i].protocol));
}

/* Families with flags in the type and as pairs, and every netlink protocol. */
static void families(void)
{
    static const struct {
        const char *name;
        long family, type;
    } tries[] = {
        {"vsock", AF_VSOCK, SOCK_STREAM},
        {"alg", AF_ALG, SOCK_SEQPACKET},
        {"xdp", 44, SOCK_RAW},
        {"packet", AF_PACKET, SOCK_RAW},
        {"packet_dgram", AF_PACKET, SOCK_DGRAM},
        {"audit", AF_NETLINK, SOCK_RAW},
    };
    char name[64];
    int pair[2];

    for (size_t i = 0; i < sizeof(tries) / sizeof(tries[0]); i++) {
        long protocol = tries[i].family == AF_NETLINK ? 9 : 0;
        snprintf(name, sizeof(name), "%s", tries[i].name);
        say(name, syscall(SYS_socket, tries[i].family, tries[i].type, protocol));
        snprintf(name, sizeof(name), "%s_flags", tries[i].name);
        say(name, syscall(SYS_socket, tries[i].family, tries[i].type | SOCK_CLOEXEC | SOCK_NONBLOCK,
                          protocol));
        snprintf(name, sizeof(name), "%s_pair", tries[i].name);
        say(name, syscall(SYS_socketpair, tries[i].family, tries[i].type, protocol, pair));
    }
    for (long protocol = 0; protocol < 32; protocol++) {
        snprintf(name, sizeof(name), "netlink_%ld", protocol);
        say(name, syscall(SYS_socket, AF_NETLINK, SOCK_DGRAM, protocol));
    }
}

static void on_init(void)
{
    struct rlimit one = {1, 1};
    struct sched_param param = {0};
    uint64_t mask = 1;

    say("prlimit_init_set", syscall(SYS_prlimit64, 1, RLIMIT_NOFILE, &one, NULL));
    say("prlimit_init_set_high", syscall(SYS_prlimit64, 1L | 1L << 32, RLIMIT_NOFILE, &one, NULL));
    say("prlimit_self_get", syscall(SYS_prlimit64, 0, RLIMIT_NOFILE, NULL, &one));
    say("sched_setscheduler_init", syscall(SYS_sched_setscheduler, 1, 5, &param));
    say("sched_setscheduler_init_high", syscall(SYS_sched_setscheduler, 1L | 1L << 33, 5, &param));
    say("sched_setaffinity_init", syscall(SYS_sched_setaffinity, 1, sizeof(mask), &mask));
    say("setpriority_init", syscall(SYS_setpriority, PRIO_PROCESS, 1, 19));
    say("setpriority_user", syscall(SYS_setpriority, PRIO_USER, 0, 19));
    say("ioprio_init", syscall(SYS_ioprio_set, 1, 1, 3 << 13));
    say("ptrace_init", syscall(SYS_ptrace, 16, 1, 0, 0));
    say("vm_readv_init", syscall(SYS_process_vm_readv, 1, NULL, 0, NULL, 0, 0));
    say("kcmp_init", syscall(SYS_kcmp, 1, getpid(), 0, 0, 0));
    int pidfd = (int)syscall(SYS_pidfd_open, 1, 0);
    say("pidfd_getfd_init", syscall(SYS_pidfd_getfd, pidfd, 0, 0));
}

static void devices(void)
{
    static const struct {
        const char *name;
        mode_t type;
        unsigned major_number, minor_number;
    } nodes[] = {{"disk", S_IFBLK, 254, 0},  {"mem", S_IFCHR, 1, 1},    {"kmsg", S_IFCHR, 1, 11},
                 {"fuse", S_IFCHR, 10, 229}, {"kvm", S_IFCHR, 10, 232}, {"tun", S_IFCHR, 10, 200}};
    char name[64];

    for (size_t i = 0; i < sizeof(nodes) / sizeof(nodes[0]); i++) {
        snprintf(name, sizeof(name), "/tmp/node-%s", nodes[i].name);
        long rc = mknod(name, nodes[i].type | 0600,
                        makedev(nodes[i].major_number, nodes[i].minor_number));
        snprintf(name, sizeof(name), "mknod_%s", nodes[i].name);
        say(name, rc);
    }
}

static void escapes(void)
{
    say("mount_tmpfs", syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, NULL));
    say("umount_proc", syscall(SYS_umount2, "/proc", 2));
    say("pivot_root", syscall(SYS_pivot_root, ".", "."));
    say("open_tree", syscall(SYS_open_tree, -100, "/", 1));
    say("fsopen", syscall(SYS_fsopen, "tmpfs", 0));
    say("keyctl", syscall(SYS_keyctl, 0, -3, 0));
    say("add_key", syscall(SYS_add_key, "user", "x", "y", 1, -2));
    say("bpf", syscall(SYS_bpf, 0, NULL, 0));
    say("io_uring_setup", syscall(SYS_io_uring_setup, 1, NULL));
    say("userfaultfd", syscall(SYS_userfaultfd, 0));
    say("perf_event_open", syscall(SYS_perf_event_open, NULL, 0, -1, -1, 0));
    say("open_by_handle_at", syscall(SYS_open_by_handle_at, -1, NULL, 0));
    say("name_to_handle_at", syscall(SYS_name_to_handle_at, -100, "/", NULL, NULL, 0));
    say("personality_compat", syscall(SYS_personality, 0x0400000));
    say("personality_read", syscall(SYS_personality, 0xffffffff));
    say("ioctl_tiocsti", ioctl(0, TIOCSTI, "x"));
    say("ioctl_tiocsti_high", syscall(SYS_ioctl, 0, TIOCSTI | 1L << 32, "x"));
    say("sethostname", syscall(SYS_sethostname, "x", 1));
    say("chroot_tmp", chroot("/tmp"));
    say("chroot_up", chdir("../../../../.."));
    char here[4096];
    printf("chroot_sees %s\n", getcwd(here, sizeof(here)) != NULL ? here : strerrorname_np(errno));
}

static void run_killed(const char *name, void (*fn)(void))
{
    int status;

    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        fn();
        _exit(0);
    }
    waitpid(pid, &status, 0);
    printf("%s %s\n", name, WIFSIGNALED(status) ? sigabbrev_np(WTERMSIG(status)) : "ok");
}

/* ---- exhaustion: each takes one more, below 0 when there is none ---- */

#define SHM_PIECE (4 << 20)

static void *idle(void *arg)
{
    for (;;)
        pause();
    return arg;
}

static int one_thread(void)
{
    pthread_attr_t attr;
    pthread_t thread;

    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, 16384);
    int rc = pthread_create(&thread, &attr, idle, NULL);
    pthread_attr_destroy(&attr);
    errno = rc;
    return rc == 0 ? 0 : -1;
}

static int one_fd(void)
{
    return open("/dev/null", O_RDONLY);
}

static int one_inotify(void)
{
    return inotify_init1(IN_CLOEXEC);
}

static int one_mqueue(void)
{
    static unsigned n;
    char name[32];

    snprintf(name, sizeof(name), "/queue%u", n++);
    return mq_open(name, O_CREAT | O_RDWR, 0600, NULL);
}

static int one_shm(void)
{
    int id = shmget(IPC_PRIVATE, SHM_PIECE, IPC_CREAT | 0600);
    char *p = id < 0 ? (void *)-1 : shmat(id, NULL, 0);

    if (p == (void *)-1)
        return -1;
    memset(p, 1, SHM_PIECE);
    return 0;
}

static int one_pty(void)
{
    return posix_openpt(O_RDWR | O_NOCTTY);
}

static void exhaust(const char *name)
{
    static const struct {
        const char *name;
        int (*one)(void);
    } kinds[] = {
        {"threads", one_thread}, {"fds", one_fd},  {"inotify", one_inotify},
        {"mqueue", one_mqueue},  {"shm", one_shm}, {"pty", one_pty},
    };
    struct rlimit files;
    long n = 0;

    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        files.rlim_cur = files.rlim_max;
        (void)setrlimit(RLIMIT_NOFILE, &files);
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (strcmp(kinds[i].name, name) != 0)
            continue;
        while (n < 2000000 && kinds[i].one() >= 0)
            n++;
        printf("%ld %s\n", n, strerrorname_np(errno));
        fflush(stdout);
        poll(NULL, 0, -1);
    }
}

static void enter_32(void)
{
    long rc;

    __asm__ volatile("int $0x80" : "=a"(rc) : "a"(20L) : "memory", "r8", "r9", "r10", "r11");
    _exit(0);
}

static void enter_x32(void)
{
    syscall(0x40000000 | 39);
    _exit(0);
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return 2;
    if (strcmp(argv[1], "census") == 0) {
        census();
    } else if (strcmp(argv[1], "syscalls") == 0) {
        namespaces();
        sockets();
        on_init();
        devices();
        escapes();
    } else if (strcmp(argv[1], "families") == 0) {
        families();
    } else if (strcmp(argv[1], "exhaust") == 0 && argc == 3) {
        exhaust(argv[2]);
    } else if (strcmp(argv[1], "open") == 0) {
        for (int i = 2; i < argc; i++)
            say(argv[i], open(argv[i], O_WRONLY | O_NONBLOCK));
    } else if (strcmp(argv[1], "foreign") == 0) {
        run_killed("int80", enter_32);
        run_killed("x32", enter_x32);
    }
    return 0;
}
