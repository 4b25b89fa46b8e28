#define _GNU_SOURCE
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "CLinux.h"

// Functions that glibc declares only for _GNU_SOURCE, which an importer of the header cannot set.

ssize_t clinux_pread_nowait(int fd, void *buffer, size_t count, off_t offset) {
  struct iovec part = {.iov_base = buffer, .iov_len = count};
  return preadv2(fd, &part, 1, offset, RWF_NOWAIT);
}

int clinux_fallocate(int fd, int mode, off_t offset, off_t count) {
  return fallocate(fd, mode, offset, count);
}

long clinux_thread_major_faults(void) {
  struct rusage usage;
  return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_majflt : 0;
}

int clinux_accept(int socket) { return accept4(socket, NULL, NULL, SOCK_CLOEXEC); }

int clinux_spawn_chdir(posix_spawn_file_actions_t *actions, const char *path) {
  return posix_spawn_file_actions_addchdir_np(actions, path);
}

int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

char **clinux_environment(void) { return environ; }

pid_t clinux_peer_pid(int socket) {
  struct ucred peer;
  socklen_t size = sizeof peer;
  return getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 ? peer.pid : -1;
}

int clinux_pidfd_signal(int pidfd, int signal) {
  return (int)syscall(SYS_pidfd_send_signal, pidfd, signal, NULL, 0);
}

int clinux_processor_count(void) {
  cpu_set_t set;
  return sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : 1;
}

int clinux_become_io_flusher(void) { return prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0); }

void clinux_name_thread(const char *name) { pthread_setname_np(pthread_self(), name); }

int clinux_device_minor(int descriptor, unsigned *minor) {
  struct statx status;
  if (statx(descriptor, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &status) != 0) return -1;
  *minor = status.stx_dev_minor;
  return 0;
}

bool clinux_block_device_numbers(int directory, const char *path, uint32_t *major, uint32_t *minor) {
  struct statx status;
  if (statx(directory, path, AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0 || !S_ISBLK(status.stx_mode)) return false;
  *major = status.stx_rdev_major;
  *minor = status.stx_rdev_minor;
  return true;
}

int clinux_pidfd_open(pid_t pid) { return (int)syscall(SYS_pidfd_open, pid, 0); }

int clinux_pipe(int ends[2]) { return pipe2(ends, O_CLOEXEC | O_NONBLOCK); }

int clinux_rename_new(const char *path, const char *target) {
  return renameat2(AT_FDCWD, path, AT_FDCWD, target, RENAME_NOREPLACE);
}

void clinux_replace_program(const char *path, char *const arguments[], int kept) {
  sigset_t none;
  sigemptyset(&none);
  // Others that are ignored stay so: a thread that writes to whoever is gone must not end us now.
  signal(SIGTERM, SIG_DFL);
  signal(SIGINT, SIG_DFL);
  pthread_sigmask(SIG_SETMASK, &none, NULL);
  // CLOSE_RANGE_CLOEXEC, kernel 5.11; an older one knows the program's own flags only, with which all are opened.
  syscall(SYS_close_range, 3U, ~0U, 4U);
  fcntl(kept, F_SETFD, 0);
  execv(path, arguments);
}
