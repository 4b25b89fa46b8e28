// What tcmu-runner 1.5 and its handlers share, as the handlers were compiled against it, and what this library keeps
// beside it. The layouts of the first part are fixed by tcmu-runner.h and libtcmu_common.h of release 1.5.4.
#pragma once

#include "ashlar_handler.h"

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

struct tcmu_device;
struct call;

// libtcmu_common.h: what handlers return.
enum {
  STATUS_ASYNC_HANDLED = -2,
  STATUS_NOT_HANDLED = -1,
  STATUS_OK = 0,
  STATUS_NO_RESOURCE,
  STATUS_PASSTHROUGH_ERROR,
  STATUS_BUSY,
  STATUS_WRITE_ERROR,
  STATUS_READ_ERROR,
  STATUS_MISCOMPARE,
  STATUS_INVALID_COMMAND,
  STATUS_INVALID_CDB,
  STATUS_INVALID_PARAMETER_LIST,
  STATUS_INVALID_PARAMETER_LIST_LENGTH,
  STATUS_TIMEOUT,
  STATUS_FENCED,
  STATUS_HARDWARE_ERROR,
  STATUS_RANGE,
  STATUS_FORMAT_IN_PROGRESS,
  STATUS_CAPACITY_CHANGED,
  STATUS_NO_SAVED_PARAMETERS,
  STATUS_INCOMPATIBLE_FORMAT,
  STATUS_TRANSITION,
  STATUS_IMPLICIT_TRANSITION_ERROR,
  STATUS_EXPLICIT_TRANSITION_ERROR,
  STATUS_NO_LOCK_HOLDERS,
  STATUS_UNKNOWN_SEGMENT_TYPE,
  STATUS_UNKNOWN_TARGET_TYPE,
  STATUS_COPY_TARGET_GONE,
  STATUS_WRONG_COPY_TARGET,
  STATUS_TOO_MANY_SEGMENTS,
  STATUS_TOO_MANY_TARGETS,
  STATUS_COUNT,
};

enum { SENSE_CAPACITY = 96, CDB_CAPACITY = 32 };

// libtcmu_common.h: `struct tcmulib_cmd`.
struct tcmulib_cmd {
  uint16_t cmd_id;
  uint8_t *cdb;
  struct iovec *iovec;
  size_t iov_cnt;
  uint8_t sense_buf[SENSE_CAPACITY];
  void *hm_private;
};

// tcmu-runner.h: `struct tcmur_cmd`.
struct tcmur_cmd {
  struct tcmulib_cmd *lib_cmd;
  struct iovec *iovec;
  size_t iov_cnt;
  void *iov_base_copy;
  void *cmd_state;
  size_t requested;
  void *list_entry[2];
  struct timespec start_time;
  bool timed_out;
  void (*done)(struct tcmu_device *dev, struct tcmur_cmd *cmd, int status);
};

// libtcmu.h: what `reconfig` is told.
enum { RECONFIG_CFGSTRING, RECONFIG_SIZE, RECONFIG_WRITE_CACHE };
struct tcmulib_cfg_info {
  int type;
  union {
    uint64_t dev_size;
    char *dev_cfgstring;
    bool write_cache;
  } data;
};

// tcmu-runner.h: `struct tcmur_handler`.
struct tcmur_handler {
  const char *name;
  const char *subtype;
  const char *cfg_desc;
  void *opaque;
  bool (*check_config)(const char *cfgstring, char **reason);
  int (*reconfig)(struct tcmu_device *dev, struct tcmulib_cfg_info *info);
  int (*open)(struct tcmu_device *dev, bool reopen);
  void (*close)(struct tcmu_device *dev);
  int nr_threads;
  int (*handle_cmd)(struct tcmu_device *dev, struct tcmur_cmd *cmd);
  int (*read)(struct tcmu_device *, struct tcmur_cmd *, struct iovec *, size_t, size_t, off_t);
  int (*write)(struct tcmu_device *, struct tcmur_cmd *, struct iovec *, size_t, size_t, off_t);
  int (*flush)(struct tcmu_device *dev, struct tcmur_cmd *cmd);
  int (*unmap)(struct tcmu_device *dev, struct tcmur_cmd *cmd, uint64_t offset, uint64_t length);
  int (*writesame)(struct tcmu_device *, struct tcmur_cmd *, uint64_t, uint64_t, struct iovec *, size_t);
  int (*caw)(struct tcmu_device *, struct tcmur_cmd *, uint64_t, uint64_t, struct iovec *, size_t);
  int (*report_event)(struct tcmu_device *dev);
  int (*lock)(struct tcmu_device *dev, uint16_t tag);
  int (*unlock)(struct tcmu_device *dev);
  int (*get_lock_tag)(struct tcmu_device *dev, uint16_t *tag);
  int (*get_lock_state)(struct tcmu_device *dev);
  bool is_dbus_handler;
  bool (*update_logdir)(void);
  int (*init)(void);
  void (*destroy)(void);
};

// What handlers know only by functions is ours.

// A disk.
struct tcmu_device {
  // Where handlers of tcmu-runner's own find its `struct tcmur_device` by tcmu_dev_get_private(): the device first,
  // and counters that stay 0.
  void *runner_part[64];
  const struct tcmur_handler *handler;
  struct ashlar_device *device;
  void *handler_private;
  char *cfgstring;
  uint64_t byte_count;
  uint64_t block_count;
  uint32_t block_size;
  uint32_t asked_block_size;
  uint32_t maximum_transfer;
  uint32_t copy_length;
  uint32_t maximum_unmap;
  uint32_t unmap_granularity;
  uint32_t unmap_alignment;
  bool has_write_cache;
  bool is_solid_state;
  bool can_unmap;
};

// The host, set by ashlar_tcmu_runner_load().
extern const struct ashlar_host *runner_host;

// Where an opening that fails finds what the handler has said about it: the last error of the calling thread.
const char *runner_last_error(void);
void runner_forget_error(void);

// requests.c
void runner_set_requests(struct ashlar_handler *out, const struct tcmur_handler *handler);

// status.c
int runner_error_number(int status);
void runner_set_outcome(struct ashlar_command *command, int status, const uint8_t *sense);
