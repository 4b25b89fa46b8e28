// A device as handlers see it: the accessors of libtcmu_common.h, and what tcmu-runner reads from configfs for them.
#include "runner.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>

void tcmur_dev_set_private(struct tcmu_device *dev, void *value) { dev->handler_private = value; }
void *tcmur_dev_get_private(struct tcmu_device *dev) { return dev->handler_private; }

// libtcmu's private pointer is tcmu-runner's own; handlers only ever ask for it.
void *tcmu_dev_get_private(struct tcmu_device *dev) { return dev->runner_part; }
const char *tcmu_dev_get_uio_name(struct tcmu_device *dev) { return dev->cfgstring; }
char *tcmu_dev_get_cfgstring(struct tcmu_device *dev) { return dev->cfgstring; }

void tcmu_dev_set_num_lbas(struct tcmu_device *dev, uint64_t count) { dev->block_count = count; }
uint64_t tcmu_dev_get_num_lbas(struct tcmu_device *dev) { return dev->block_count; }
void tcmu_dev_set_block_size(struct tcmu_device *dev, uint32_t size) {
  if (size > 0) dev->block_size = size;
}
uint32_t tcmu_dev_get_block_size(struct tcmu_device *dev) { return dev->block_size; }
uint64_t tcmu_lba_to_byte(struct tcmu_device *dev, uint64_t lba) { return lba * dev->block_size; }
uint64_t tcmu_byte_to_lba(struct tcmu_device *dev, uint64_t byte) { return byte / dev->block_size; }

void tcmu_dev_set_max_xfer_len(struct tcmu_device *dev, uint32_t length) { dev->maximum_transfer = length; }
uint32_t tcmu_dev_get_max_xfer_len(struct tcmu_device *dev) { return dev->maximum_transfer; }
void tcmu_dev_set_opt_xcopy_rw_len(struct tcmu_device *dev, uint32_t length) { dev->copy_length = length; }
uint32_t tcmu_dev_get_opt_xcopy_rw_len(struct tcmu_device *dev) { return dev->copy_length; }
void tcmu_dev_set_max_unmap_len(struct tcmu_device *dev, uint32_t length) { dev->maximum_unmap = length; }
uint32_t tcmu_dev_get_max_unmap_len(struct tcmu_device *dev) { return dev->maximum_unmap; }
// Whether discards are divided at the granularity's borders makes no difference to what they do.
void tcmu_dev_set_opt_unmap_gran(struct tcmu_device *dev, uint32_t length, bool divides) {
  (void)divides;
  dev->unmap_granularity = length;
}
uint32_t tcmu_dev_get_opt_unmap_gran(struct tcmu_device *dev) { return dev->unmap_granularity; }
void tcmu_dev_set_unmap_gran_align(struct tcmu_device *dev, uint32_t length) { dev->unmap_alignment = length; }
uint32_t tcmu_dev_get_unmap_gran_align(struct tcmu_device *dev) { return dev->unmap_alignment; }

void tcmu_dev_set_write_cache_enabled(struct tcmu_device *dev, bool value) { dev->has_write_cache = value; }
bool tcmu_dev_get_write_cache_enabled(struct tcmu_device *dev) { return dev->has_write_cache; }
void tcmu_dev_set_solid_state_media(struct tcmu_device *dev, bool value) { dev->is_solid_state = value; }
bool tcmu_dev_get_solid_state_media(struct tcmu_device *dev) { return dev->is_solid_state; }
void tcmu_dev_set_unmap_enabled(struct tcmu_device *dev, bool value) { dev->can_unmap = value; }
bool tcmu_dev_get_unmap_enabled(struct tcmu_device *dev) { return dev->can_unmap; }
bool tcmu_dev_oooc_supported(struct tcmu_device *dev) {
  (void)dev;
  return true;
}

// The attributes of configfs that handlers ask for.
int tcmu_cfgfs_dev_get_attr_int(struct tcmu_device *dev, const char *name) {
  if (strcmp(name, "hw_block_size") == 0) return (int)dev->asked_block_size;
  if (strcmp(name, "hw_max_sectors") == 0) {
    return dev->maximum_transfer > INT_MAX ? INT_MAX : (int)dev->maximum_transfer;
  }
  return -EINVAL;
}

uint64_t tcmu_cfgfs_dev_get_info_u64(struct tcmu_device *dev, const char *name, int *result) {
  *result = 0;
  if (strcmp(name, "Size") == 0) return dev->byte_count;
  if (strcmp(name, "HwMaxSectors") == 0) return dev->maximum_transfer;
  *result = -EINVAL;
  return 0;
}

// The unit serial number, to be freed by the caller.
char *tcmu_cfgfs_dev_get_wwn(struct tcmu_device *dev) {
  char serial[256];
  size_t length = runner_host->serial(dev->device, serial, sizeof(serial));
  return length > 0 && length < sizeof(serial) ? strdup(serial) : NULL;
}

// The storage below has another size.
int tcmur_dev_update_size(struct tcmu_device *dev, uint64_t byte_count) {
  if (byte_count == 0) return -EINVAL;
  dev->byte_count = byte_count;
  dev->block_count = byte_count / dev->block_size;
  runner_host->resized(dev->device, byte_count);
  return 0;
}

// What a cluster of several nodes would do with these is not for one host: they are said in the log.
void tcmu_notify_conn_lost(struct tcmu_device *dev) {
  runner_host->log(dev->device, ASHLAR_LOG_ERROR, "the handler has lost its connection");
}
void tcmu_notify_lock_lost(struct tcmu_device *dev) {
  runner_host->log(dev->device, ASHLAR_LOG_ERROR, "the handler has lost its lock");
}
void tcmu_notify_cmd_timed_out(struct tcmu_device *dev) {
  runner_host->log(dev->device, ASHLAR_LOG_WARNING, "a command of the handler takes too long");
}

void tcmu_set_thread_name(const char *prefix, struct tcmu_device *dev) {
  (void)dev;
  char name[16];
  snprintf(name, sizeof(name), "%s", prefix);
  prctl(PR_SET_NAME, name);
}
