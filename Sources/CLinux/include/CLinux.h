// What Swift cannot say of the Linux interfaces: variadic calls, computed ioctl numbers, control
// messages, and a copy that survives SIGBUS. No policy and no state but the guard's.
#pragma once

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/fuse.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

// ioctl(2) is variadic.
static inline int clinux_ioctl_pointer(int fd, unsigned long request, void *argument) {
  return ioctl(fd, request, argument);
}
static inline int clinux_ioctl_value(int fd, unsigned long request, unsigned long argument) {
  return ioctl(fd, request, argument);
}

// open(2) and openat(2) are variadic.
static inline int clinux_open(const char *path, int flags, mode_t mode) {
  return open(path, flags, mode);
}
static inline int clinux_openat(int directory, const char *path, int flags) {
  return openat(directory, path, flags);
}

// fcntl(2) is variadic.
static inline int clinux_fcntl(int fd, int command, int argument) { return fcntl(fd, command, argument); }

// Reads without waiting for a disk: RWF_NOWAIT. Returns what preadv2(2) returns.
ssize_t clinux_pread_nowait(int fd, void *buffer, size_t count, off_t offset);

// fallocate(2), for _GNU_SOURCE only.
int clinux_fallocate(int fd, int mode, off_t offset, off_t count);
// How often the calling thread had to wait for a page from disk: ru_majflt of RUSAGE_THREAD.
long clinux_thread_major_faults(void);

// pthread_setname_np(3) of the calling thread, for _GNU_SOURCE only.
void clinux_name_thread(const char *name);

// makedev(3), major(3) and minor(3) are macros.
static inline dev_t clinux_makedev(unsigned major, unsigned minor) { return makedev(major, minor); }
static inline unsigned clinux_major(dev_t device) { return major(device); }
static inline unsigned clinux_minor(dev_t device) { return minor(device); }

// accept4(2) with SOCK_CLOEXEC, for _GNU_SOURCE only.
int clinux_accept(int socket);
// posix_spawn_file_actions_addchdir_np(3), for _GNU_SOURCE only; returns an error number.
int clinux_spawn_chdir(posix_spawn_file_actions_t *actions, const char *path);
// posix_spawn_file_actions_addclosefrom_np(3), glibc 2.34; returns an error number.
int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first);
// environ(7): a variable, which Swift cannot take for safe.
char **clinux_environment(void);
// execv(2) with no signal blocked, SIGTERM and SIGINT as a new program expects them, and no descriptor but 0 to 2 and `kept`;
// returns only if that fails.
void clinux_replace_program(const char *path, char *const arguments[], int kept);
// The process at the other end of a connected Unix socket, or that listened there (SO_PEERCRED); -1 with errno.
pid_t clinux_peer_pid(int socket);
// Sends a signal to the process of a pidfd; returns what pidfd_send_signal(2) returns.
int clinux_pidfd_signal(int pidfd, int signal);
// How many processors the process may use (sched_getaffinity(2)); 1 if that is not known.
int clinux_processor_count(void);
// Declares this process part of the way to a disk, so that the kernel does not wait for that disk to get
// memory for it: prctl(PR_SET_IO_FLUSHER), kernel 5.6. Returns what prctl(2) returns.
int clinux_become_io_flusher(void);

// rename(2) that fails with EEXIST if the target is there.
int clinux_rename_new(const char *path, const char *target);

// Loads and stores of words that the kernel shares with us: an atomic of Swift is a variable of its own, not a
// place in memory that was mapped.
static inline uint32_t clinux_load_acquire(const void *place) {
  return __atomic_load_n((const uint32_t *)place, __ATOMIC_ACQUIRE);
}
static inline void clinux_store_release(void *place, uint32_t value) {
  __atomic_store_n((uint32_t *)place, value, __ATOMIC_RELEASE);
}

// The minor number of the device that an open file is on, as the kernel knows it, without asking the file system:
// statx(2) with AT_STATX_DONT_SYNC. Returns -1 with errno.
int clinux_device_minor(int descriptor, unsigned *minor);

// The numbers of a block device by a path beneath an open directory that leads to it, from what the kernel knows without
// asking a server: statx(2) with AT_STATX_DONT_SYNC. Returns whether it is one.
bool clinux_block_device_numbers(int directory, const char *path, uint32_t *major, uint32_t *minor);
// d_name is an array that a record may end within: no copy of it.
static inline const char *clinux_entry_name(const struct dirent *entry) { return entry->d_name; }
// si_pid is a macro.
static inline pid_t clinux_waited_pid(const siginfo_t *information) { return information->si_pid; }

// A pipe that is closed on exec and does not wait.
int clinux_pipe(int ends[2]);

// Numbers that <linux/...> computes with macros of a shape that is not imported.
static const unsigned long clinux_BLKGETSIZE64 = BLKGETSIZE64;
static const unsigned long clinux_BLKGETDISKSEQ = BLKGETDISKSEQ;
static const unsigned long clinux_BLKPG = BLKPG;
static const unsigned long clinux_BLKROGET = BLKROGET;
static const unsigned long clinux_BLKSSZGET = BLKSSZGET;
static const unsigned long clinux_FUSE_DEV_IOC_CLONE = FUSE_DEV_IOC_CLONE;
static const unsigned long clinux_FICLONE = FICLONE;
static const unsigned long clinux_FS_IOC_GETVERSION = FS_IOC_GETVERSION;
static const int clinux_RLIMIT_NOFILE = RLIMIT_NOFILE;
static const int clinux_RLIMIT_FSIZE = RLIMIT_FSIZE;
// For _GNU_SOURCE only; the same number on every architecture that Swift knows.
static const int clinux_O_PATH = 010000000;
// For _GNU_SOURCE only; the value of x86-64 and riscv64 on one hand, arm64 on the other (asm/fcntl.h).
#if defined(__aarch64__)
static const int clinux_O_DIRECT = 0200000;
#else
static const int clinux_O_DIRECT = 040000;
#endif
// Enumerators of one type and flags of another.
static const int clinux_EPOLL_CLOEXEC = EPOLL_CLOEXEC;
static const uint32_t clinux_EPOLL_EDGE = EPOLLIN | EPOLLET;
static const uint32_t clinux_EPOLL_LEVEL = EPOLLIN;
static const uint32_t clinux_EPOLL_GONE = EPOLLERR | EPOLLHUP;
static const int clinux_EVENTFD_FLAGS = EFD_CLOEXEC | EFD_NONBLOCK;
static const int clinux_SOCK_CLOEXEC = SOCK_CLOEXEC;
static const int clinux_IN_FLAGS = IN_CLOEXEC | IN_NONBLOCK;
static const int clinux_SPAWN_FLAGS = POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | 0x80 /* POSIX_SPAWN_SETSID */;
static const unsigned long clinux_MS_RDONLY = MS_RDONLY;
static const int clinux_PUNCH_HOLE = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
static const int clinux_ZERO_RANGE = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

// Kernel 6.9, newer than the headers of Debian 12.
enum { CLINUX_FUSE_NOTIFY_RESEND = 7 };

// AddressSanitizer and libFuzzer install handlers of their own; ours is installed on the first call.
void clinux_guard_install(void);

// Copies from a mapped file. Returns 0, or EIO if the pages could not be read: the file was cut short or
// its disk failed, for which a plain memcpy would die of SIGBUS.
int clinux_guarded_copy(void *destination, const void *source, size_t count);

// Says whether all bytes of a mapped file's part are zero; returns as the one above.
int clinux_guarded_is_zero(const void *source, size_t count, bool *is_zero);

// Says whether parts of two mapped files are the same; returns as those above.
int clinux_guarded_compare(const void *one, const void *other, size_t count, bool *is_same);

// Sends bytes and at most `fd_count` descriptors over a Unix socket; returns what sendmsg(2) returns.
ssize_t clinux_send_with_fds(int socket, const void *bytes, size_t count, const int *fds, size_t fd_count);

// Receives one message and up to `*fd_count` descriptors (close-on-exec); sets `*fd_count` to their
// number. Returns what recvmsg(2) returns.
ssize_t clinux_receive_with_fds(int socket, void *bytes, size_t count, int *fds, size_t *fd_count);

// pidfd_open(2), for which glibc 2.36 has a header only beside <sys/pidfd.h>.
int clinux_pidfd_open(pid_t pid);
