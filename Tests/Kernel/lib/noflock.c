// A pass-through file system that refuses flock(2) with a number, as network file systems do:
// noflock ERRNO DIRECTORY MOUNTPOINT [OPTION...]; it has one file, d.img.
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const char *directory;
static int refusal;

static const char *path_of(const char *path, char *buffer, size_t size) {
  snprintf(buffer, size, "%s%s", directory, path);
  return buffer;
}

static int no_getattr(const char *path, struct stat *status, struct fuse_file_info *info) {
  char buffer[4096];
  (void)info;
  return lstat(path_of(path, buffer, sizeof buffer), status) ? -errno : 0;
}

static int no_open(const char *path, struct fuse_file_info *info) {
  char buffer[4096];
  int file = open(path_of(path, buffer, sizeof buffer), info->flags & ~O_DIRECT);
  if (file < 0) return -errno;
  info->fh = (uint64_t)file;
  return 0;
}

static int no_read(const char *path, char *bytes, size_t count, off_t offset, struct fuse_file_info *info) {
  (void)path;
  ssize_t result = pread((int)info->fh, bytes, count, offset);
  return result < 0 ? -errno : (int)result;
}

static int no_write(
    const char *path, const char *bytes, size_t count, off_t offset, struct fuse_file_info *info) {
  (void)path;
  ssize_t result = pwrite((int)info->fh, bytes, count, offset);
  return result < 0 ? -errno : (int)result;
}

static int no_fsync(const char *path, int only_data, struct fuse_file_info *info) {
  (void)path;
  (void)only_data;
  return fsync((int)info->fh) ? -errno : 0;
}

static int no_release(const char *path, struct fuse_file_info *info) {
  (void)path;
  return close((int)info->fh) ? -errno : 0;
}

static int no_flock(const char *path, struct fuse_file_info *info, int operation) {
  (void)path;
  (void)info;
  (void)operation;
  return -refusal;
}

static const struct fuse_operations operations = {
    .getattr = no_getattr, .open = no_open, .read = no_read, .write = no_write,
    .fsync = no_fsync, .release = no_release, .flock = no_flock,
};

int main(int count, char **arguments) {
  if (count < 4) return 2;
  refusal = atoi(arguments[1]);
  directory = arguments[2];
  arguments[2] = arguments[0];
  return fuse_main(count - 2, arguments + 2, &operations, NULL);
}
