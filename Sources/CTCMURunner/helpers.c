// Functions of libtcmu_common.h that need no device: command blocks, pieces of memory, sense data.
#include "runner.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

static uint64_t big_endian(const uint8_t *bytes, int count) {
  uint64_t value = 0;
  for (int i = 0; i < count; i++) value = value << 8 | bytes[i];
  return value;
}

// The length of a command block (SPC-4, 4.2.5.1); -EINVAL where the operation code does not tell.
int tcmu_cdb_get_length(uint8_t *cdb) {
  switch (cdb[0] >> 5) {
    case 0: return 6;
    case 1:
    case 2: return 10;
    case 3: return cdb[0] == 0x7F ? 8 + cdb[7] : -EINVAL;
    case 4: return 16;
    case 5: return 12;
    default: return -EINVAL;
  }
}

uint64_t tcmu_cdb_get_lba(uint8_t *cdb) {
  switch (tcmu_cdb_get_length(cdb)) {
    case 6: return big_endian(cdb + 1, 3) & 0x1FFFFF;
    case 10:
    case 12: return big_endian(cdb + 2, 4);
    case 16: return big_endian(cdb + 2, 8);
    default: return 0;
  }
}

uint32_t tcmu_cdb_get_xfer_length(uint8_t *cdb) {
  switch (tcmu_cdb_get_length(cdb)) {
    case 6: return cdb[4];
    case 10: return (uint32_t)big_endian(cdb + 7, 2);
    case 12: return (uint32_t)big_endian(cdb + 6, 4);
    case 16: return (uint32_t)big_endian(cdb + 10, 4);
    default: return 0;
  }
}

// Where memory and pieces first differ; -1 if nowhere.
off_t tcmu_iovec_compare(void *memory, struct iovec *iovec, size_t size) {
  const uint8_t *bytes = memory;
  for (size_t done = 0; done < size; iovec++) {
    const uint8_t *other = iovec->iov_base;
    for (size_t i = 0; i < iovec->iov_len && done < size; i++, done++) {
      if (bytes[done] != other[i]) return (off_t)done;
    }
  }
  return -1;
}

// Uses up bytes of pieces that have as many, and returns how many pieces are used up with them.
size_t tcmu_iovec_seek(struct iovec *iovec, size_t count) {
  size_t passed = 0;
  for (; count > 0; iovec++) {
    if (count < iovec->iov_len) {
      iovec->iov_base = (uint8_t *)iovec->iov_base + count;
      iovec->iov_len -= count;
      return passed;
    }
    count -= iovec->iov_len;
    iovec->iov_len = 0;
    passed++;
  }
  return passed;
}

void tcmu_cmd_seek(struct tcmulib_cmd *cmd, size_t count) {
  cmd->iov_cnt -= tcmu_iovec_seek(cmd->iovec, count);
}

size_t tcmu_iovec_length(struct iovec *iovec, size_t iov_cnt) {
  size_t length = 0;
  for (size_t i = 0; i < iov_cnt; i++) length += iovec[i].iov_len;
  return length;
}

void tcmu_iovec_zero(struct iovec *iovec, size_t iov_cnt) {
  for (size_t i = 0; i < iov_cnt; i++) memset(iovec[i].iov_base, 0, iovec[i].iov_len);
}

bool tcmu_iovec_zeroed(struct iovec *iovec, size_t iov_cnt) {
  for (size_t i = 0; i < iov_cnt; i++) {
    const uint8_t *bytes = iovec[i].iov_base;
    for (size_t j = 0; j < iovec[i].iov_len; j++) {
      if (bytes[j]) return false;
    }
  }
  return true;
}

// Copies between memory and pieces, as far as both go, and uses the pieces up.
static size_t copy(struct iovec *iovec, size_t iov_cnt, uint8_t *memory, size_t length, bool into) {
  size_t done = 0;
  for (size_t i = 0; i < iov_cnt && done < length; i++) {
    size_t part = iovec[i].iov_len < length - done ? iovec[i].iov_len : length - done;
    if (part == 0) continue;
    if (into) {
      memcpy(iovec[i].iov_base, memory + done, part);
    } else {
      memcpy(memory + done, iovec[i].iov_base, part);
    }
    iovec[i].iov_base = (uint8_t *)iovec[i].iov_base + part;
    iovec[i].iov_len -= part;
    done += part;
  }
  return done;
}

size_t tcmu_memcpy_into_iovec(struct iovec *iovec, size_t iov_cnt, void *source, size_t length) {
  return copy(iovec, iov_cnt, source, length, true);
}

size_t tcmu_memcpy_from_iovec(void *target, size_t length, struct iovec *iovec, size_t iov_cnt) {
  return copy(iovec, iov_cnt, target, length, false);
}

void __tcmu_sense_set_data(uint8_t *sense, uint8_t key, uint16_t code) {
  sense[0] |= 0x70;
  sense[2] = key;
  sense[7] = 10;
  sense[12] = (uint8_t)(code >> 8);
  sense[13] = (uint8_t)code;
}

int tcmu_sense_set_data(uint8_t *sense, uint8_t key, uint16_t code) {
  memset(sense, 0, SENSE_CAPACITY);
  __tcmu_sense_set_data(sense, key, code);
  return STATUS_PASSTHROUGH_ERROR;
}

// The INFORMATION field, with VALID.
void tcmu_sense_set_info(uint8_t *sense, uint32_t information) {
  memset(sense, 0, 18);
  sense[0] = 0x80;
  for (int i = 0; i < 4; i++) sense[3 + i] = (uint8_t)(information >> (24 - 8 * i));
}

// The last two bytes of the sense-key specific field, with SKSV.
void tcmu_sense_set_key_specific_info(uint8_t *sense, uint16_t information) {
  memset(sense, 0, 18);
  sense[15] = 0x80;
  sense[16] = (uint8_t)(information >> 8);
  sense[17] = (uint8_t)information;
}

// A thread that the handler started and has no other way to end.
void tcmu_thread_cancel(pthread_t thread) {
  if (pthread_cancel(thread) == 0) pthread_join(thread, NULL);
}
