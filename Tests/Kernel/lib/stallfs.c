// A file system with one file, disk.img, which lies elsewhere: stallfs FILE MOUNTPOINT [libfuse's options].
// Stopped (SIGSTOP), it is a disk that does not answer; with STALL_READS in its environment, one that opens, and answers
// no read. Nothing of it is cached but what the kernel keeps of itself.
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int backing;
static int stalls;

static int get_attributes(const char *path, struct stat *status, struct fuse_file_info *info) {
  (void)info;
  if (strcmp(path, "/") == 0) {
    memset(status, 0, sizeof *status);
    status->st_mode = S_IFDIR | 0755;
    status->st_nlink = 2;
    return 0;
  }
  if (strcmp(path, "/disk.img") != 0) return -ENOENT;
  return fstat(backing, status) == 0 ? 0 : -errno;
}

static int open_file(const char *path, struct fuse_file_info *info) {
  (void)info;
  return strcmp(path, "/disk.img") == 0 ? 0 : -ENOENT;
}

static int read_file(const char *path, char *buffer, size_t count, off_t offset, struct fuse_file_info *info) {
  (void)path, (void)info;
  while (stalls) pause();
  ssize_t read = pread(backing, buffer, count, offset);
  return read < 0 ? -errno : (int)read;
}

static void *begin(struct fuse_conn_info *connection, struct fuse_config *config) {
  (void)connection;
  config->attr_timeout = config->entry_timeout = 0;
  return NULL;
}

int main(int count, char **arguments) {
  static const struct fuse_operations operations = {
      .init = begin, .getattr = get_attributes, .open = open_file, .read = read_file};
  if (count < 3) return 64;
  backing = open(arguments[1], O_RDONLY);
  if (backing < 0) return 1;
  stalls = getenv("STALL_READS") != NULL;
  arguments[1] = arguments[0];
  return fuse_main(count - 1, arguments + 1, &operations, NULL);
}
