/*
 * Preloaded into a program, makes one fault at one place in its run, whichever of its threads comes
 * there. What the program starts is left alone.
 *
 * FAULT is "UNIT PLACE KIND REPORT". UNIT "call" counts the calls below, "step" the lines "[#] ..."
 * on standard error, "kill" the signals that the program sends. KIND is "error" (ENOMEM, of that call
 * or of the step's first call), "wait" (until REPORT is removed), or the number of a signal, which
 * comes before the call. The file REPORT gets a line "faulted" at the fault, and the count of units at
 * the end.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long seen;
static atomic_int armed;
static long place;
static enum { CALLS, STEPS, KILLS } unit;
static int signal_number, waits;
static char report[256];
static pid_t program;

static void tell(const char *line)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, report, O_WRONLY | O_CREAT | O_APPEND, 0600);
    syscall(SYS_write, fd, line, strlen(line));
    syscall(SYS_close, fd);
}

__attribute__((constructor)) static void begin(void)
{
    char name[8], kind[8];
    const char *fault = getenv("FAULT");
    if (!fault || sscanf(fault, "%7s %ld %7s %255s", name, &place, kind, report) != 4)
        abort();
    unit = *name == 'c' ? CALLS : *name == 's' ? STEPS : KILLS;
    waits = !strcmp(kind, "wait");
    signal_number = atoi(kind);
    program = getpid();
    unsetenv("LD_PRELOAD");
    unsetenv("FAULT");
}

__attribute__((destructor)) static void end(void)
{
    char line[32];
    if (getpid() != program)
        return;
    snprintf(line, sizeof line, "%ld\n", atomic_load(&seen));
    tell(line);
}

/* Whether the call that is about to be made is to fail. */
static int fault(void)
{
    tell("faulted\n");
    if (waits) {
        while (!access(report, F_OK))
            usleep(1000);
        return 0;
    }
    if (!signal_number)
        return 1;
    syscall(SYS_kill, program, signal_number);
    return 0;
}

/* The journal is written between the line of a step and the step. */
static int is_journal(int fd)
{
    char link[32], path[64] = "";
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    return readlink(link, path, sizeof path - 1) > 0 && !strncmp(path, "/run/wg-quick/", 14);
}

static int fails(int fd, const char *text, size_t length)
{
    if (getpid() != program || unit == KILLS)
        return 0;
    if (unit == CALLS)
        return atomic_fetch_add(&seen, 1) + 1 == place && fault();
    if (fd == STDERR_FILENO) {
        int begins = text && length > 3 && !memcmp(text, "[#]", 3);
        if (begins && atomic_fetch_add(&seen, 1) + 1 == place) {
            if (signal_number)
                fault();
            else
                atomic_store(&armed, 1);
        }
        return 0;
    }
    return (fd < 0 || !is_journal(fd)) && atomic_exchange(&armed, 0) && fault();
}

#define CALL(type, name, fd, text, length, parameters, arguments)          \
    type name parameters                                                   \
    {                                                                      \
        static type(*next) parameters;                                     \
        if (!next)                                                         \
            next = (type(*) parameters)dlsym(RTLD_NEXT, #name);            \
        if (fails(fd, text, length)) {                                     \
            errno = ENOMEM;                                                \
            return -1;                                                     \
        }                                                                  \
        return next arguments;                                             \
    }

CALL(ssize_t, write, fd, buf, n, (int fd, const void *buf, size_t n), (fd, buf, n))
CALL(ssize_t, send, fd, 0, 0, (int fd, const void *buf, size_t n, int flags), (fd, buf, n, flags))
CALL(ssize_t, sendto, fd, 0, 0,
     (int fd, const void *buf, size_t n, int flags, const struct sockaddr *to, socklen_t tolen),
     (fd, buf, n, flags, to, tolen))
CALL(int, connect, fd, 0, 0, (int fd, const struct sockaddr *to, socklen_t tolen), (fd, to, tolen))
CALL(int, ftruncate64, fd, 0, 0, (int fd, off64_t length), (fd, length))
CALL(int, fsync, fd, 0, 0, (int fd), (fd))
CALL(int, rename, -1, 0, 0, (const char *from, const char *to), (from, to))
CALL(int, unlink, -1, 0, 0, (const char *path), (path))
CALL(int, mkdir, -1, 0, 0, (const char *path, mode_t mode), (path, mode))
CALL(int, rmdir, -1, 0, 0, (const char *path), (path))
CALL(pid_t, fork, -1, 0, 0, (void), ())

int kill(pid_t process, int number)
{
    if (unit == KILLS && getpid() == program && atomic_fetch_add(&seen, 1) + 1 == place)
        fault();
    return (int)syscall(SYS_kill, process, number);
}
