// An example of a handler in C: disks that are plain files.
//
// Configuration: the path of a file, which must exist. `plain//var/lib/disk.img` is the file /var/lib/disk.img.
//
// The interface and its rules are in ashlar_handler.h; docs/handlers.md of Ashlar explains them.
#define _GNU_SOURCE
#include <ashlar_handler.h>

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

// What the host offers; set when the handler is loaded.
static const struct ashlar_host *host;

// An open disk: what the host passes to all functions but `check_config` and `open`.
struct disk {
  int fd;
};

// A read or write may be done in parts; it has failed only when there is an error or an unexpected end.
static int transfer(struct disk *disk, struct ashlar_request *request, int writes) {
  uint8_t *bytes = request->data;
  for (uint64_t done = 0; done < request->length;) {
    size_t left = request->length - done;
    off_t place = (off_t)(request->offset + done);
    ssize_t count =
      writes ? pwrite(disk->fd, bytes + done, left, place) : pread(disk->fd, bytes + done, left, place);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -errno;
    if (count == 0) return -EIO;
    done += (uint64_t)count;
  }
  return 0;
}

static int plain_read(void *state, struct ashlar_request *request) { return transfer(state, request, 0); }

static int plain_write(void *state, struct ashlar_request *request) { return transfer(state, request, 1); }

static int plain_flush(void *state, struct ashlar_request *request) {
  struct disk *disk = state;
  (void)request;
  return fdatasync(disk->fd) == 0 ? 0 : -errno;
}

static int deallocate(struct disk *disk, struct ashlar_request *request, int mode) {
  int result = fallocate(
    disk->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)request->offset, (off_t)request->length);
  return result == 0 ? 0 : -errno;
}

static int plain_discard(void *state, struct ashlar_request *request) {
  return deallocate(state, request, FALLOC_FL_PUNCH_HOLE);
}

// A file system that cannot do it says EOPNOTSUPP, and the host writes zeros instead.
static int plain_write_zeroes(void *state, struct ashlar_request *request) {
  int may_be_a_hole = (request->flags & ASHLAR_MAY_UNMAP) != 0;
  return deallocate(state, request, may_be_a_hole ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE);
}

static int plain_resize(void *state, uint64_t byte_count) {
  struct disk *disk = state;
  return ftruncate(disk->fd, (off_t)byte_count) == 0 ? 0 : -errno;
}

// Asked before a disk is made, so that a mistake shows early. Nothing is made here.
static int plain_check_config(void *context, const char *configuration, char *reason, size_t capacity) {
  (void)context;
  struct stat status;
  if (stat(configuration, &status) != 0) {
    int error = errno;
    snprintf(reason, capacity, "%s: %s", configuration, strerror(error));
    return -error;
  }
  if (!S_ISREG(status.st_mode)) {
    snprintf(reason, capacity, "%s is not a regular file", configuration);
    return -EINVAL;
  }
  return 0;
}

static int plain_open(
  void *context, const struct ashlar_opening *opening, struct ashlar_geometry *geometry, void **state) {
  int result = plain_check_config(context, opening->configuration, opening->reason, opening->reason_capacity);
  if (result != 0) return result;
  int is_read_only = (opening->flags & ASHLAR_OPEN_READ_ONLY) != 0;
  int fd = open(opening->configuration, (is_read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC);
  if (fd < 0) return -errno;
  struct stat status;
  struct disk *disk = malloc(sizeof(*disk));
  if (!disk || fstat(fd, &status) != 0) {
    result = disk ? -errno : -ENOMEM;
    free(disk);
    close(fd);
    return result;
  }
  disk->fd = fd;
  // The size is the file's, up to the last whole block; the host has set the rest to what it asked for.
  geometry->byte_count = (uint64_t)status.st_size / geometry->block_size * geometry->block_size;
  geometry->flags |= ASHLAR_WRITE_CACHE;
  geometry->discard_granularity = (uint32_t)status.st_blksize;
  host->log(opening->device, ASHLAR_LOG_INFO, "opened");
  *state = disk;
  return 0;
}

static void plain_close(void *state) {
  struct disk *disk = state;
  close(disk->fd);
  free(disk);
}

static const struct ashlar_handler handler = {
  .version = ASHLAR_HANDLER_VERSION,
  .size = sizeof(handler),
  .subtype = "plain",
  .description = "The path of an existing file.",
  // Files may be read and written from any number of threads.
  .concurrent_calls = 0,
  .check_config = plain_check_config,
  .open = plain_open,
  .close = plain_close,
  .read = plain_read,
  .write = plain_write,
  .flush = plain_flush,
  .discard = plain_discard,
  .write_zeroes = plain_write_zeroes,
  .resize = plain_resize,
};

const struct ashlar_handler *ashlar_handler_entry(const struct ashlar_host *given) {
  if (given->version != ASHLAR_HANDLER_VERSION) return NULL;
  host = given;
  return &handler;
}
