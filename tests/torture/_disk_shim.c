/* What a program does to the files whose path begins with one prefix: written down in order, and
 * made to fail on purpose. Loaded with LD_PRELOAD; steered from inside the program:
 *
 *   shim_watch(prefix)                    which files; also the folder they lie in, for its syncs
 *   shim_record(path)                     write every operation to this log; NULL ends it
 *   shim_arm(n, errno, times, how)        from now on the n-th operation (1 = the next) fails with
 *                                         errno, and the `times` - 1 after it (-1: all of them);
 *                                         how: 1 = a write that fails has written half its bytes,
 *                                         2 = only syncs are counted, and fail
 *   shim_disarm() -> operations seen since shim_arm;  shim_fired() -> how many of them failed
 *
 * Beside that, the wall clock is as many seconds off as the variable STEPWELL_WALL_SHIFT_S says.
 *
 * Operations are write, pwrite, truncate, sync, unlink, rename; those on a file whose name ends in
 * "-acks" (the test's own log) are recorded and never fail. One lock is held over an operation
 * and its line in the log, so the log's order is one in which they happened.
 *
 * A log is a sequence of: kind (1 byte), file (1 byte), offset (8), length (8), then the bytes of
 * a write or name. Kinds: N name of a file number, C created, W write, T truncate, S sync,
 * F failed sync, U unlink, M rename (offset = number of the new name). Numbers are in the byte
 * order of this machine.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define FDS 65536
#define FILES 64

static pthread_mutex_t lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;
static char prefix[4096], folder[4096];
static unsigned char file_of[FDS]; /* number of the watched file + 1 */
static char *names[FILES];
static int log_fd = -1;
static long seen, fail_at, fail_times, fired;
static int fail_errno, fail_half, only_syncs;

#define REAL(type, name, ...)                                                                      \
    static type (*real)(__VA_ARGS__);                                                              \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t raw_write(int fd, const void *bytes, size_t length) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return real(fd, bytes, length);
}

static void put(char kind, int file, int64_t offset, int64_t length, const void *bytes) {
    if (log_fd < 0) return;
    char head[18];
    head[0] = kind;
    head[1] = (char)file;
    memcpy(head + 2, &offset, 8);
    memcpy(head + 10, &length, 8);
    if (raw_write(log_fd, head, sizeof head) != sizeof head) abort();
    for (int64_t done = 0; bytes && done < length;) {
        ssize_t n = raw_write(log_fd, (const char *)bytes + done, (size_t)(length - done));
        if (n <= 0) abort();
        done += n;
    }
}

/* Number of a watched file, or -1. */
static int number_of(const char *path) {
    if (!*prefix || !path) return -1;
    if (strncmp(path, prefix, strlen(prefix)) && strcmp(path, folder)) return -1;
    for (int i = 0; i < FILES; i++) {
        if (names[i] && !strcmp(names[i], path)) return i;
        if (!names[i]) {
            names[i] = strdup(path);
            put('N', i, 0, (int64_t)strlen(path), path);
            return i;
        }
    }
    abort();
}

static int watched(int fd) { return fd >= 0 && fd < FDS ? file_of[fd] - 1 : -1; }

/* Whether this operation is to fail; counts it. What the test itself writes never fails. */
static int fails(int file, int is_sync) {
    size_t length = strlen(names[file]);
    if (length > 5 && !strcmp(names[file] + length - 5, "-acks")) return 0;
    if (only_syncs && !is_sync) return 0;
    seen++;
    if (!fail_at || seen < fail_at || (fail_times >= 0 && seen >= fail_at + fail_times)) return 0;
    fired++;
    return 1;
}

void shim_watch(const char *path) {
    pthread_mutex_lock(&lock);
    snprintf(prefix, sizeof prefix, "%s", path);
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (slash) *slash = 0;
    memset(file_of, 0, sizeof file_of);
    for (int i = 0; i < FILES; i++) { free(names[i]); names[i] = NULL; }
    pthread_mutex_unlock(&lock);
}

void shim_record(const char *path) {
    pthread_mutex_lock(&lock);
    REAL(int, "close", int);
    if (log_fd >= 0) real(log_fd);
    log_fd = path ? open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600) : -1;
    for (int i = 0; i < FILES && log_fd >= 0; i++)
        if (names[i]) put('N', i, 0, (int64_t)strlen(names[i]), names[i]);
    pthread_mutex_unlock(&lock);
}

void shim_arm(long n, int error, long times, int how) {
    pthread_mutex_lock(&lock);
    seen = fired = 0;
    fail_at = n; fail_errno = error; fail_times = times; fail_half = how & 1; only_syncs = how & 2;
    pthread_mutex_unlock(&lock);
}

long shim_disarm(void) {
    pthread_mutex_lock(&lock);
    fail_at = 0;
    long told = seen;
    pthread_mutex_unlock(&lock);
    return told;
}

long shim_fired(void) { return fired; }

static int opened(const char *path, int flags, int fd, int was_there) {
    if (fd >= 0 && fd < FDS) {
        int file = number_of(path);
        file_of[fd] = (unsigned char)(file + 1);
        if (file >= 0 && (flags & O_CREAT) && !was_there) put('C', file, 0, 0, NULL);
        if (file >= 0 && (flags & O_TRUNC) && was_there) put('T', file, 0, 0, NULL);
    }
    return fd;
}

#define OPEN(name)                                                                                 \
    int name(const char *path, int flags, ...) {                                                   \
        REAL(int, #name, const char *, int, ...);                                                  \
        mode_t mode = 0;                                                                           \
        if (flags & (O_CREAT | __O_TMPFILE)) {                                                     \
            va_list more;                                                                          \
            va_start(more, flags);                                                                 \
            mode = (mode_t)va_arg(more, int);                                                      \
            va_end(more);                                                                          \
        }                                                                                          \
        pthread_mutex_lock(&lock);                                                                 \
        struct stat there;                                                                         \
        int was_there = stat(path, &there) == 0;                                                   \
        int fd = opened(path, flags, real(path, flags, mode), was_there);                          \
        int saved = errno;                                                                         \
        pthread_mutex_unlock(&lock);                                                               \
        errno = saved;                                                                             \
        return fd;                                                                                 \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    REAL(int, "close", int);
    if (fd >= 0 && fd < FDS) file_of[fd] = 0;
    return real(fd);
}

#define WATCHED(fd, call)                                                                          \
    int file = watched(fd);                                                                        \
    if (file < 0) return call;                                                                     \
    pthread_mutex_lock(&lock);

#define LEAVE(result)                                                                              \
    do {                                                                                           \
        int saved = errno;                                                                         \
        pthread_mutex_unlock(&lock);                                                               \
        errno = saved;                                                                             \
        return result;                                                                             \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t length) {
    WATCHED(fd, raw_write(fd, bytes, length))
    off_t at = lseek(fd, 0, SEEK_CUR);
    if (fcntl(fd, F_GETFL) & O_APPEND) at = lseek(fd, 0, SEEK_END);
    if (fails(file, 0)) {
        ssize_t part = fail_half ? raw_write(fd, bytes, length / 2) : 0;
        if (part > 0) put('W', file, at, part, bytes);
        errno = fail_errno;
        LEAVE(-1);
    }
    ssize_t n = raw_write(fd, bytes, length);
    if (n > 0) put('W', file, at, n, bytes);
    LEAVE(n);
}

#define PWRITE(name, off_type)                                                                     \
    ssize_t name(int fd, const void *bytes, size_t length, off_type at) {                          \
        REAL(ssize_t, #name, int, const void *, size_t, off_type);                                 \
        WATCHED(fd, real(fd, bytes, length, at))                                                   \
        if (fails(file, 0)) {                                                                             \
            ssize_t part = fail_half ? real(fd, bytes, length / 2, at) : 0;                        \
            if (part > 0) put('W', file, at, part, bytes);                                         \
            errno = fail_errno;                                                                    \
            LEAVE(-1);                                                                             \
        }                                                                                          \
        ssize_t n = real(fd, bytes, length, at);                                                   \
        if (n > 0) put('W', file, at, n, bytes);                                                   \
        LEAVE(n);                                                                                  \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

#define TRUNCATE(name, off_type)                                                                   \
    int name(int fd, off_type length) {                                                            \
        REAL(int, #name, int, off_type);                                                           \
        WATCHED(fd, real(fd, length))                                                              \
        if (fails(file, 0)) {                                                                             \
            errno = fail_errno;                                                                    \
            LEAVE(-1);                                                                             \
        }                                                                                          \
        int result = real(fd, length);                                                             \
        if (!result) put('T', file, length, 0, NULL);                                              \
        LEAVE(result);                                                                             \
    }
TRUNCATE(ftruncate, off_t)
TRUNCATE(ftruncate64, off64_t)

#define SYNC(name)                                                                                 \
    int name(int fd) {                                                                             \
        REAL(int, #name, int);                                                                     \
        WATCHED(fd, real(fd))                                                                      \
        if (fails(file, 1)) {                                                                             \
            put('F', file, 0, 0, NULL);                                                            \
            errno = fail_errno;                                                                    \
            LEAVE(-1);                                                                             \
        }                                                                                          \
        int result = real(fd);                                                                     \
        if (!result) put('S', file, 0, 0, NULL);                                                   \
        LEAVE(result);                                                                             \
    }
SYNC(fsync)
SYNC(fdatasync)

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    pthread_mutex_lock(&lock);
    int file = number_of(path);
    if (file < 0) {
        int result = real(path);
        LEAVE(result);
    }
    if (fails(file, 0)) {
        errno = fail_errno;
        LEAVE(-1);
    }
    int result = real(path);
    if (!result) put('U', file, 0, 0, NULL);
    LEAVE(result);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    pthread_mutex_lock(&lock);
    int file = number_of(from), other = number_of(to);
    if (file < 0 || other < 0) {
        int result = real(from, to);
        LEAVE(result);
    }
    if (fails(file, 0)) {
        errno = fail_errno;
        LEAVE(-1);
    }
    int result = real(from, to);
    if (!result) put('M', file, other, 0, NULL);
    LEAVE(result);
}

/* --- the wall clock ------------------------------------------------------------------------- */

static long wall_shift_s(void) {
    static long shift, known;
    if (!known) {
        const char *text = getenv("STEPWELL_WALL_SHIFT_S");
        shift = text ? atol(text) : 0;
        known = 1;
    }
    return shift;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int result = real(clock, now);
    if (!result && clock == CLOCK_REALTIME) now->tv_sec += wall_shift_s();
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone) {
    REAL(int, "gettimeofday", struct timeval *, void *);
    int result = real(now, zone);
    if (!result) now->tv_sec += wall_shift_s();
    return result;
}

time_t time(time_t *where) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (where) *where = now.tv_sec;
    return now.tv_sec;
}
