/* Loaded before the C library: system calls that fail, come short, or are interrupted.
 *
 * FAULT_CALL names a function, FAULT_AT says which call of it is meant (from 1 on, 0 for every one), and FAULT_ERRNO
 * what it fails with; without an error number it moves a part of the bytes only. With FAULT_STOP the process stops there
 * first, as by Ctrl-Z. FAULT_AREA, two numbers, are the first byte that cannot be read and the one behind the last, in
 * every file that is opened for reading only: pread64 fails with EIO there. STORM_MICROSECONDS is the period of a timer whose signal interrupts whatever waits.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

static const char *call;
static long at = -1;
static int number;
static int stops;
static long area_start, area_end;
/* A bit for each. */
static atomic_ulong read_only;
static atomic_long calls;

static void interrupt(int signal) { (void)signal; }

static long from_environment(const char *name, long otherwise) {
    const char *value = getenv(name);
    return value ? atol(value) : otherwise;
}

__attribute__((constructor)) static void begin(void) {
    call = getenv("FAULT_CALL");
    at = from_environment("FAULT_AT", -1);
    number = (int)from_environment("FAULT_ERRNO", 0);
    stops = getenv("FAULT_STOP") != NULL;
    const char *area = getenv("FAULT_AREA");
    if (area)
        sscanf(area, "%ld %ld", &area_start, &area_end);
    long period = from_environment("STORM_MICROSECONDS", 0);
    if (period) {
        struct sigaction action = {.sa_handler = interrupt};
        sigaction(SIGALRM, &action, NULL);
        struct itimerval timer = {{0, period}, {0, period}};
        setitimer(ITIMER_REAL, &timer, NULL);
    }
}

/* What a sandbox has in memory, and has no name, is no image. Whoever may not ask any more has none to make. */
static int is_nameless(int file) {
    struct stat found;
    return !fstat(file, &found) && !found.st_nlink;
}

/* Whether this call is one that something happens to. */
static int is_struck(const char *name, int file) {
    if (!call || strcmp(call, name) || is_nameless(file))
        return 0;
    int struck = atomic_fetch_add(&calls, 1) + 1 == at || at == 0;
    if (struck && stops)
        raise(SIGSTOP);
    return struck;
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define STRIKE(name)                                \
    do {                                            \
        if (is_struck(#name, file) && number) {           \
            errno = number;                         \
            return -1;                              \
        }                                           \
    } while (0)

/* A third of the bytes gets through, and every other call: everything ends. */
#define STRIKE_BYTES(name, count)                   \
    do {                                            \
        static _Thread_local int again;             \
        if (is_struck(#name, file)) {                     \
            again = !again;                         \
            if (number && (at || again)) {          \
                errno = number;                     \
                return -1;                          \
            }                                       \
            if (!number)                            \
                count = (count + 2) / 3;            \
        }                                           \
    } while (0)

int open64(const char *name, int flags, ...) {
    mode_t mode = 0;
    if (flags & (O_CREAT | __O_TMPFILE)) {
        va_list arguments;
        va_start(arguments, flags);
        mode = va_arg(arguments, mode_t);
        va_end(arguments);
    }
    int file = NEXT(open64)(name, flags, mode);
    if ((flags & O_ACCMODE) == O_RDONLY && file >= 0 && file < 64)
        read_only |= 1UL << file;
    return file;
}

/* Whether the image `file` is one whose bytes from `offset` on cannot all be read. */
static int is_in_area(int file, size_t count, off64_t offset) {
    int is_input = file < 64 && read_only >> file & 1;
    return is_input && offset < area_end && offset + (off64_t)count > area_start;
}

ssize_t pread64(int file, void *bytes, size_t count, off64_t offset) {
    if (is_in_area(file, count, offset)) {
        errno = EIO;
        return -1;
    }
    STRIKE_BYTES(pread64, count);
    return NEXT(pread64)(file, bytes, count, offset);
}

ssize_t pwrite64(int file, const void *bytes, size_t count, off64_t offset) {
    STRIKE_BYTES(pwrite64, count);
    return NEXT(pwrite64)(file, bytes, count, offset);
}

int ftruncate64(int file, off64_t len) {
    STRIKE(ftruncate64);
    return NEXT(ftruncate64)(file, len);
}

int fdatasync(int file) {
    STRIKE(fdatasync);
    return NEXT(fdatasync)(file);
}
