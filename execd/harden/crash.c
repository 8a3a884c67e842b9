#include "execd/harden/crash.h"

#include <errno.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>
#include <unwind.h>

#include "proto/base/version.h"

#define LINE_MAX_BYTES 1024
#define FRAMES_MAX 32
/* A fault may be a stack that is used up: the handler has its own. MINSIGSTKSZ is not a constant any more. */
#define STACK_BYTES (64U << 10)

static const struct {
    int signum;
    const char *name;
} faults[] = {
    {SIGSEGV, "SIGSEGV"}, {SIGABRT, "SIGABRT"}, {SIGBUS, "SIGBUS"},
    {SIGFPE, "SIGFPE"},   {SIGILL, "SIGILL"},
};

static bool init_process;
static pid_t our_pid;
extern const char __executable_start[]; /* of the linker: where the binary begins in memory */

/* Formatting without libc: everything here runs in a signal handler. */
struct line {
    char text[LINE_MAX_BYTES];
    size_t len;
    int frames;
};

static void add(struct line *l, const char *text)
{
    while (*text != '\0' && l->len < sizeof(l->text) - 1)
        l->text[l->len++] = *text++;
}

static void add_number(struct line *l, uintptr_t value, unsigned base)
{
    char digits[24];
    size_t at = sizeof(digits);
    digits[--at] = '\0';
    do {
        digits[--at] = "0123456789abcdef"[value % base];
        value /= base;
    } while (value > 0);
    add(l, base == 16 ? "0x" : "");
    add(l, digits + at);
}

static _Unwind_Reason_Code add_frame(struct _Unwind_Context *context, void *arg)
{
    struct line *l = arg;
    uintptr_t ip = _Unwind_GetIP(context);
    if (ip == 0 || l->frames++ == FRAMES_MAX)
        return _URC_END_OF_STACK;
    add(l, " +");
    add_number(l, ip - (uintptr_t)__executable_start, 16);
    return _URC_NO_REASON;
}

static const char *name_of(int signum)
{
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (faults[i].signum == signum)
            return faults[i].name;
    return "?";
}

/* Raised by the kernel for what we did, or by our own abort. The kernel lets nobody forge either: codes above zero are
 * its own, and with SI_TKILL it names the true sender. */
static bool is_own_fault(const siginfo_t *info)
{
    return info->si_code > 0 || (info->si_code == SI_TKILL && info->si_pid == our_pid);
}

static void report(int signum, const siginfo_t *info)
{
    struct line l = {.len = 0};
    add(&l, "execd: fatal ");
    add(&l, name_of(signum));
    add(&l, " code ");
    add(&l, info->si_code < 0 ? "-" : "");
    add_number(&l, (uintptr_t)(info->si_code < 0 ? -info->si_code : info->si_code), 10);
    if (info->si_code > 0) {
        add(&l, " address ");
        add_number(&l, (uintptr_t)info->si_addr, 16);
    }
    add(&l, " version ");
    add(&l, version_text());
    add(&l, " at");
    /* Finds its tables without a lock or memory (_dl_find_object) since glibc 2.35. */
    (void)_Unwind_Backtrace(add_frame, &l);
    l.text[l.len++] = '\n';
    /* Nobody could be told of a failure. */
    (void)!write(STDERR_FILENO, l.text, l.len);
}

static void reset_all(void)
{
    struct sigaction action = {.sa_handler = SIG_DFL};
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        (void)sigaction(faults[i].signum, &action, NULL);
}

static void on_fault(int signum, siginfo_t *info, void *context)
{
    (void)context;
    int saved = errno;
    bool own = is_own_fault(info);
    /* Inside its namespace PID 1 cannot be killed by others; a handler must not change that. Pid 0 is outside. */
    if (!own && init_process && !(info->si_code == SI_USER && info->si_pid == 0)) {
        errno = saved;
        return;
    }
    reset_all();
    report(signum, info);
    if (own)
        return; /* the instruction faults again, abort goes on: now the default action ends us */
    if (init_process)
        _exit(128 + signum); /* its default action would be nothing */
    (void)raise(signum);     /* taken once this handler returns */
}

int crash_install(bool is_init, struct err *err)
{
    static char stack[STACK_BYTES];
    stack_t alternate = {.ss_sp = stack, .ss_size = sizeof(stack)};
    struct sigaction action = {.sa_sigaction = on_fault, .sa_flags = SA_SIGINFO | SA_ONSTACK};

    init_process = is_init;
    our_pid = getpid();
    if (sigaltstack(&alternate, NULL) < 0)
        return err_sys(err, 0, errno, "set a stack for fault handlers");
    sigfillset(&action.sa_mask);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        if (sigaction(faults[i].signum, &action, NULL) < 0)
            return err_sys(err, 0, errno, "handle %s", faults[i].name);
    return 0;
}
