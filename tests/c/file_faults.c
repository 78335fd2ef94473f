// Lets operations on files fail: a library for LD_PRELOAD on Linux with the GNU C library.
//
// FILE_FAULTS_FOLDER  the folder, as an absolute path; only operations on files in it count, in their order, from 1
// FILE_FAULTS_AT      the number of the operation that fails; without it none does
// FILE_FAULTS_KIND    error: EIO. interrupted: EINTR, where the system returns it. short: half of the bytes are read or written.
//                     full: ENOSPC, also for all that write later. kill: the process is killed before the operation.
// FILE_FAULTS_WHILE   with "full": instead, all that write fail while this file exists
// FILE_FAULTS_LOG     a file to which a line is appended for each operation
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NONE, ERROR, INTERRUPTED, SHORT, FULL, KILL };
enum { MOST = 65536 };

static atomic_long count;
// Descriptors of files in the folder.
static atomic_char counted[MOST];

static const char *setting(const char *name) {
    const char *value = getenv(name);
    return value ? value : "";
}

static int is_inside(const char *path) {
    const char *folder = setting("FILE_FAULTS_FOLDER");
    size_t length = strlen(folder);
    return length && !strncmp(path, folder, length) && (path[length] == '/' || !path[length]);
}

static int kind(void) {
    const char *name = setting("FILE_FAULTS_KIND");
    return !strcmp(name, "error") ? ERROR
        : !strcmp(name, "interrupted") ? INTERRUPTED
        : !strcmp(name, "short") ? SHORT
        : !strcmp(name, "full") ? FULL
        : !strcmp(name, "kill") ? KILL
                                : NONE;
}

// Counts an operation. Returns what happens to it, with errno set for an error.
static int next_fault(const char *operation, int writes) {
    long number = atomic_fetch_add(&count, 1) + 1, at = atol(setting("FILE_FAULTS_AT"));
    const char *log = setting("FILE_FAULTS_LOG"), *file = setting("FILE_FAULTS_WHILE");
    if (*log) {
        char line[64];
        int length = snprintf(line, sizeof line, "%ld %s\n", number, operation);
        int fd = (int)syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (fd >= 0) {
            syscall(SYS_write, fd, line, length);
            syscall(SYS_close, fd);
        }
    }
    int fault = kind();
    if (fault == FULL && *file ? access(file, F_OK) || !writes
        : fault == FULL        ? !at || number < at || !writes
                               : !at || number != at)
        return NONE;
    if (fault == KILL) raise(SIGKILL);
    errno = fault == ERROR ? EIO : fault == INTERRUPTED ? EINTR : fault == FULL ? ENOSPC : errno;
    return fault;
}

// Returns whether an operation on `fd` must fail; a shorter `length` if it is to be short.
static int fails(const char *operation, int fd, int writes, size_t *length) {
    if (fd < 0 || fd >= MOST || !counted[fd]) return 0;
    int fault = next_fault(operation, writes);
    if (fault == SHORT && length && *length > 1) *length /= 2;
    return fault == ERROR || fault == INTERRUPTED || fault == FULL;
}

static int opened(const char *path, int flags, mode_t mode) {
    int counts = is_inside(path);
    if (counts) {
        int fault = next_fault("open", (flags & O_CREAT) != 0);
        if (fault == ERROR || fault == INTERRUPTED || fault == FULL) return -1;
    }
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
    if (fd >= 0 && fd < MOST) counted[fd] = counts;
    return fd;
}

#define OPEN(name) \
    int name(const char *path, int flags, ...) { \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        return opened(path, flags, mode); \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < MOST) counted[fd] = 0;
    return (int)syscall(SYS_close, fd);
}

ssize_t read(int fd, void *to, size_t length) {
    return fails("read", fd, 0, &length) ? -1 : syscall(SYS_read, fd, to, length);
}

ssize_t write(int fd, const void *from, size_t length) {
    return fails("write", fd, 1, &length) ? -1 : syscall(SYS_write, fd, from, length);
}

ssize_t writev(int fd, const struct iovec *from, int parts) {
    return fails("writev", fd, 1, NULL) ? -1 : syscall(SYS_writev, fd, from, parts);
}

#define PREAD(name) \
    ssize_t name(int fd, void *to, size_t length, off_t offset) { \
        return fails("pread", fd, 0, &length) ? -1 : syscall(SYS_pread64, fd, to, length, offset); \
    }
PREAD(pread)
PREAD(pread64)

#define PWRITE(name) \
    ssize_t name(int fd, const void *from, size_t length, off_t offset) { \
        return fails("pwrite", fd, 1, &length) ? -1 : syscall(SYS_pwrite64, fd, from, length, offset); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

int fsync(int fd) { return fails("fsync", fd, 1, NULL) ? -1 : (int)syscall(SYS_fsync, fd); }

int fdatasync(int fd) { return fails("fdatasync", fd, 1, NULL) ? -1 : (int)syscall(SYS_fdatasync, fd); }

#define FTRUNCATE(name) \
    int name(int fd, off_t length) { \
        return fails("ftruncate", fd, 1, NULL) ? -1 : (int)syscall(SYS_ftruncate, fd, length); \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

int rename(const char *from, const char *to) {
    if (is_inside(from) || is_inside(to)) {
        int fault = next_fault("rename", 1);
        if (fault == ERROR || fault == FULL) return -1;
    }
    return (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int unlink(const char *path) {
    if (is_inside(path) && next_fault("unlink", 0) == ERROR) return -1;
    return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}
