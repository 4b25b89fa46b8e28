// What a handler's results mean to the host: error numbers for reads and writes, status and sense for commands.
#include "runner.h"

#include <errno.h>
#include <string.h>

enum { GOOD = 0x00, CHECK_CONDITION = 0x02, BUSY = 0x08, TASK_SET_FULL = 0x28 };

struct meaning {
  int error;
  uint8_t status;
  uint8_t key;
  uint16_t code;
};

static const struct meaning meanings[STATUS_COUNT] = {
  [STATUS_NO_RESOURCE] = {ENOMEM, TASK_SET_FULL, 0, 0},
  [STATUS_PASSTHROUGH_ERROR] = {EIO, CHECK_CONDITION, 0, 0},
  [STATUS_BUSY] = {EBUSY, BUSY, 0, 0},
  [STATUS_WRITE_ERROR] = {EIO, CHECK_CONDITION, 0x3, 0x0C00},
  [STATUS_READ_ERROR] = {EIO, CHECK_CONDITION, 0x3, 0x1100},
  [STATUS_MISCOMPARE] = {EILSEQ, CHECK_CONDITION, 0xE, 0x1D00},
  [STATUS_INVALID_COMMAND] = {EOPNOTSUPP, CHECK_CONDITION, 0x5, 0x2000},
  [STATUS_INVALID_CDB] = {EINVAL, CHECK_CONDITION, 0x5, 0x2400},
  [STATUS_INVALID_PARAMETER_LIST] = {EINVAL, CHECK_CONDITION, 0x5, 0x2600},
  [STATUS_INVALID_PARAMETER_LIST_LENGTH] = {EINVAL, CHECK_CONDITION, 0x5, 0x1A00},
  [STATUS_TIMEOUT] = {ETIMEDOUT, BUSY, 0, 0},
  [STATUS_FENCED] = {ENODEV, CHECK_CONDITION, 0x2, 0x040B},
  [STATUS_HARDWARE_ERROR] = {EIO, CHECK_CONDITION, 0x4, 0x4400},
  [STATUS_RANGE] = {ERANGE, CHECK_CONDITION, 0x5, 0x2100},
  [STATUS_FORMAT_IN_PROGRESS] = {EBUSY, CHECK_CONDITION, 0x2, 0x0404},
  [STATUS_CAPACITY_CHANGED] = {EBUSY, CHECK_CONDITION, 0x6, 0x2A09},
  [STATUS_NO_SAVED_PARAMETERS] = {EINVAL, CHECK_CONDITION, 0x5, 0x3900},
  [STATUS_INCOMPATIBLE_FORMAT] = {EIO, CHECK_CONDITION, 0x5, 0x3005},
  [STATUS_TRANSITION] = {EBUSY, CHECK_CONDITION, 0x2, 0x040A},
  [STATUS_IMPLICIT_TRANSITION_ERROR] = {EIO, CHECK_CONDITION, 0x6, 0x2A07},
  [STATUS_EXPLICIT_TRANSITION_ERROR] = {EIO, CHECK_CONDITION, 0x4, 0x670A},
  [STATUS_NO_LOCK_HOLDERS] = {ENODEV, CHECK_CONDITION, 0x4, 0x4400},
  [STATUS_UNKNOWN_SEGMENT_TYPE] = {EINVAL, CHECK_CONDITION, 0x5, 0x2609},
  [STATUS_UNKNOWN_TARGET_TYPE] = {EINVAL, CHECK_CONDITION, 0x5, 0x2607},
  [STATUS_COPY_TARGET_GONE] = {ENODEV, CHECK_CONDITION, 0xA, 0x0D02},
  [STATUS_WRONG_COPY_TARGET] = {EINVAL, CHECK_CONDITION, 0xA, 0x0D03},
  [STATUS_TOO_MANY_SEGMENTS] = {EINVAL, CHECK_CONDITION, 0x5, 0x2608},
  [STATUS_TOO_MANY_TARGETS] = {EINVAL, CHECK_CONDITION, 0x5, 0x2606},
};

// A result that no handler should give counts as a failure of the hardware.
static const struct meaning *meaning_of(int status) {
  if (status == STATUS_NOT_HANDLED) return &meanings[STATUS_INVALID_COMMAND];
  if (status <= STATUS_OK || status >= STATUS_COUNT) return &meanings[STATUS_HARDWARE_ERROR];
  return &meanings[status];
}

int runner_error_number(int status) {
  return status == STATUS_OK ? 0 : -meaning_of(status)->error;
}

void runner_set_outcome(struct ashlar_command *command, int status, const uint8_t *sense) {
  command->status = GOOD;
  command->sense_length = 0;
  if (status == STATUS_OK) return;
  const struct meaning *meaning = meaning_of(status);
  command->status = meaning->status;
  if (meaning->status != CHECK_CONDITION) return;
  // What the handler has put there stays: all of it, or its information and the field pointer or progress.
  memcpy(command->sense, sense, sizeof(command->sense));
  command->sense_length = 18;
  if (status == STATUS_PASSTHROUGH_ERROR) return;
  command->sense[0] |= 0x70;
  command->sense[2] = meaning->key;
  command->sense[7] = 10;
  command->sense[12] = (uint8_t)(meaning->code >> 8);
  command->sense[13] = (uint8_t)meaning->code;
}
