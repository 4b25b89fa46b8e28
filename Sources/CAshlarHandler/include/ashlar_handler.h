// The binary interface between Ashlar and a handler: a shared object that serves the content of disks.
//
// A handler is a file `ashlar_handler_NAME.so` that exports `ashlar_handler_entry`. Each disk gets a process of its
// own, which loads the handler, opens one disk, and calls it until the disk is detached.
//
// The rules:
// * Every structure begins with its size, and the first one of each side with the version too. Fields are only ever
//   added at the end. Who reads a structure looks at no field behind the size that it was given.
// * A function that can fail returns 0 or a negative error number (-EIO), and nothing else unless its comment says so.
// * Offsets and lengths are in bytes, inside the disk, and multiples of its block size; the host has checked them.
// * Strings are UTF-8 and end with NUL; they belong to who passed them, and live as long as the call unless the
//   comment says otherwise.
// * The host calls from threads of its own, which may wait. How many calls run at a time, `concurrent_calls` says.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#ifdef __cplusplus
extern "C" {
#endif

// The version of this interface; it changes only when a handler that was built for the one before cannot run.
#define ASHLAR_HANDLER_VERSION 1u

// What the host knows a disk by, and a request that is under way. A handler passes them back, and looks into neither.
struct ashlar_device;
struct ashlar_completion;

// What reads, writes, flushes and commands return besides 0 and negative error numbers.
enum {
  // The request is under way; the handler calls `complete` for it later, or has done so already.
  ASHLAR_PENDING = 1,
  // `command` only: the handler leaves this command to the host.
  ASHLAR_NOT_HANDLED = 2,
};

// How much a message matters: syslog(3)'s numbers.
enum { ASHLAR_LOG_ERROR = 3, ASHLAR_LOG_WARNING = 4, ASHLAR_LOG_INFO = 6, ASHLAR_LOG_DEBUG = 7 };

// What the host offers. It lives as long as the process; all functions may be called from any thread.
struct ashlar_host {
  uint32_t version;
  uint32_t size;
  // Messages of higher numbers than this go nowhere, so that the handler need not make them.
  int32_t log_level;
  uint32_t reserved;
  // Writes a message of one line, without its newline, into the log. `device` may be NULL.
  void (*log)(struct ashlar_device *device, int level, const char *message);
  // Ends a request for which the handler has returned ASHLAR_PENDING: exactly once, with what it would have returned.
  // The request, its data and its completion are gone when this is called.
  void (*complete)(struct ashlar_completion *completion, int result);
  // Says that the disk has now another size, in bytes, by an act of the storage below. Not from inside `resize`.
  void (*resized)(struct ashlar_device *device, uint64_t byte_count);
  // Copies the unit serial number into `buffer`, with a NUL, and returns its length; 0 if there is none, and more than
  // `capacity` - 1 if it was cut. The number may be given to a disk after it has been opened.
  size_t (*serial)(struct ashlar_device *device, char *buffer, size_t capacity);
};

// Flags of an opening.
enum {
  // The disk is opened again after its server has died or its connection was lost: nothing may be made anew.
  ASHLAR_REOPEN = 1u << 0,
  // Nothing will be written.
  ASHLAR_OPEN_READ_ONLY = 1u << 1,
};

// What a disk is opened with.
struct ashlar_opening {
  uint32_t size;
  uint32_t flags;
  // What stands behind the `/` that follows the subtype.
  const char *configuration;
  // The disk's size in bytes; 0 if the handler is to say.
  uint64_t byte_count;
  // Bytes of a block: 512 or 4096.
  uint32_t block_size;
  // Blocks of the largest transfer; 0 for no limit.
  uint32_t maximum_transfer;
  // For the host's functions; valid until `close` returns.
  struct ashlar_device *device;
  // Where a failing `open` may write, with a NUL, why: part of a sentence. `reason_capacity` bytes.
  char *reason;
  size_t reason_capacity;
};

// Flags of a geometry.
enum {
  // Writes are refused.
  ASHLAR_READ_ONLY = 1u << 0,
  // Writes are on stable storage only after a flush.
  ASHLAR_WRITE_CACHE = 1u << 1,
  // There is nothing that turns.
  ASHLAR_SOLID_STATE = 1u << 2,
  // `write` and `write_zeroes` look at ASHLAR_FUA; without this the host flushes after them.
  ASHLAR_HONOURS_FUA = 1u << 3,
};

// What a disk is like. The host has set all fields to what it asked for; `open` changes what is otherwise.
struct ashlar_geometry {
  uint32_t size;
  uint32_t flags;
  // Bytes of the disk: a multiple of `block_size`, and not 0.
  uint64_t byte_count;
  // Bytes of a block: 512 or 4096; any for a handler that serves commands only.
  uint32_t block_size;
  // Bytes of the unit in which discards give space back; 0 if unknown.
  uint32_t discard_granularity;
  // Bytes from the disk's start to the first such unit.
  uint32_t discard_alignment;
  uint32_t reserved;
  // Bytes of the longest discard that `discard` gets; the host divides longer ones. 0 for no limit.
  uint64_t discard_maximum;
  // Bytes of the transfer that suits best; 0 if any does.
  uint64_t optimal_transfer;
};

// Flags of a request.
enum {
  // The write is on stable storage before it ends.
  ASHLAR_FUA = 1u << 0,
  // The zeros may be a hole.
  ASHLAR_MAY_UNMAP = 1u << 1,
};

// A read, write, flush, discard or write of zeros. It lives until the function returns anything but ASHLAR_PENDING,
// or `complete` is called.
struct ashlar_request {
  uint32_t size;
  uint32_t flags;
  uint64_t offset;
  uint64_t length;
  // `length` bytes, to be filled by a read or taken by a write; NULL for the others.
  void *data;
  struct ashlar_completion *completion;
};

// A SCSI command as it came, for handlers that serve commands of their own. It lives as long as a request.
struct ashlar_command {
  uint32_t size;
  // Bytes of the command block that the initiator sent.
  uint32_t cdb_length;
  // The command block: 32 bytes, zeros behind `cdb_length`.
  const uint8_t *cdb;
  // The data buffer, in pieces; the handler may change the entries.
  struct iovec *pieces;
  size_t piece_count;
  struct ashlar_completion *completion;
  // To be set by a handler that returns, or completes with, 0: the status byte (SAM-5, 5.3.1), 0 for GOOD at the start;
  uint8_t status;
  // the length of the sense data, 0 at the start; and the sense data in fixed format (SPC-4, 4.5.3).
  uint8_t sense_length;
  uint8_t sense[96];
  // Bytes of data-in that are valid; SIZE_MAX, as at the start, for all.
  size_t data_in_count;
};

// A handler. `ashlar_handler_entry` returns one that lives as long as the process.
struct ashlar_handler {
  uint32_t version;
  uint32_t size;
  // The token in front of the first `/` of a configuration: letters, digits, `-`, `_` and `.`, 63 bytes at most.
  const char *subtype;
  // What the configuration of a disk has to say; shown as help by targetcli.
  const char *description;
  // Passed to `check_config` and `open`.
  void *context;
  // How many calls may run at the same time, for one disk; 0 for any number. A request that has returned
  // ASHLAR_PENDING is not a call any more.
  uint32_t concurrent_calls;
  uint32_t reserved;

  // Says whether a configuration may work, without making anything: 0, or a negative error number with the reason
  // written to `reason` as in an opening. Optional.
  int (*check_config)(void *context, const char *configuration, char *reason, size_t reason_capacity);
  // Opens a disk: sets `*state`, which is passed to all that follows, and corrects `*geometry`. Required.
  int (*open)(
    void *context, const struct ashlar_opening *opening, struct ashlar_geometry *geometry, void **state);
  // Closes a disk; no request is under way, and none follows. Required.
  void (*close)(void *state);

  // Fills `request->data`. Required, unless the handler has `command` and serves reads and writes there.
  int (*read)(void *state, struct ashlar_request *request);
  // Stores `request->data`. Without it the disk is read-only.
  int (*write)(void *state, struct ashlar_request *request);
  // Puts what was written on stable storage. Without it there is no cache to be written.
  int (*flush)(void *state, struct ashlar_request *request);
  // Forgets a range. Without it the disk does not offer discards.
  int (*discard)(void *state, struct ashlar_request *request);
  // Makes a range read as zeros. Without it, or if it returns -EOPNOTSUPP, the host writes zeros.
  int (*write_zeroes)(void *state, struct ashlar_request *request);
  // Serves a SCSI command before the host looks at it, or returns ASHLAR_NOT_HANDLED. Optional.
  int (*command)(void *state, struct ashlar_command *command);
  // Gives the disk another size. Without it the size stays as it is.
  int (*resize)(void *state, uint64_t byte_count);
  // Turns the volatile cache on or off. Without it the cache stays as it is.
  int (*set_write_cache)(void *state, int enabled);
};

// What a handler exports. Returns NULL if it cannot work with this host.
typedef const struct ashlar_handler *(*ashlar_handler_entry_function)(const struct ashlar_host *host);

#ifdef __cplusplus
}
#endif
