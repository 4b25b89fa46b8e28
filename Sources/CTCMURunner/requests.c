// Reads, writes and commands on their way to a handler and back.
#include "runner.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

// The first fields of a call are tcmu-runner's, so that the handler's pointer leads to ours.
struct call {
  struct tcmur_cmd cmd;
  struct tcmulib_cmd lib;
  uint8_t cdb[CDB_CAPACITY];
  struct ashlar_completion *completion;
  // A command's; NULL for a read, write and the like.
  struct ashlar_command *command;
  size_t data_length;
  // Zeros for a write of zeros; NULL otherwise.
  void *block;
  struct iovec pieces[];
};

static struct call *call_make(size_t piece_count, struct ashlar_completion *completion) {
  struct call *call = calloc(1, sizeof(*call) + piece_count * sizeof(struct iovec));
  if (!call) return NULL;
  call->completion = completion;
  call->cmd.lib_cmd = &call->lib;
  call->cmd.iovec = call->pieces;
  call->cmd.iov_cnt = piece_count;
  call->lib.cdb = call->cdb;
  call->lib.iovec = call->pieces;
  call->lib.iov_cnt = piece_count;
  call->lib.hm_private = &call->cmd;
  return call;
}

// Takes a call apart and says what came of it, as the host understands it.
static int call_end(struct call *call, int status) {
  int result = 0;
  struct ashlar_command *command = call->command;
  if (!command) {
    result = runner_error_number(status);
  } else if (status == STATUS_NOT_HANDLED) {
    result = ASHLAR_NOT_HANDLED;
  } else {
    runner_set_outcome(command, status, call->lib.sense_buf);
    size_t left = 0;
    for (size_t i = 0; i < command->piece_count; i++) left += call->pieces[i].iov_len;
    // Handlers that copy use the pieces up, and so say how much they had; those that read into them do not.
    if (left < call->data_length) command->data_in_count = call->data_length - left;
  }
  free(call->block);
  free(call);
  return result;
}

// Where a handler that works on by itself ends a command.
static void call_done(struct tcmu_device *dev, struct tcmur_cmd *cmd, int status) {
  (void)dev;
  struct call *call = (struct call *)cmd;
  struct ashlar_completion *completion = call->completion;
  runner_host->complete(completion, call_end(call, status));
}

void tcmur_cmd_complete(struct tcmu_device *dev, void *data, int status) {
  struct tcmur_cmd *cmd = data;
  cmd->done(dev, cmd, status);
}

// What the call of a function came to. A handler without threads has only begun with what it says OK to.
static int call_settle(const struct tcmu_device *dev, struct call *call, int status) {
  bool goes_on = status == STATUS_ASYNC_HANDLED || (status == STATUS_OK && dev->handler->nr_threads == 0);
  return goes_on ? ASHLAR_PENDING : call_end(call, status);
}

static void put_big_endian(uint8_t *bytes, int count, uint64_t value) {
  for (int i = 0; i < count; i++) bytes[i] = (uint8_t)(value >> (8 * (count - 1 - i)));
}

// A call for a request: with the command that asks for the same, for handlers that look at it.
static struct call *request_call(
  const struct tcmu_device *dev, struct ashlar_request *request, uint8_t operation) {
  struct call *call = call_make(1, request->completion);
  if (!call) return NULL;
  call->cmd.done = call_done;
  call->cmd.requested = request->length;
  call->data_length = request->data ? request->length : 0;
  call->pieces[0] = (struct iovec){request->data, call->data_length};
  call->cdb[0] = operation;
  put_big_endian(call->cdb + 2, 8, request->offset / dev->block_size);
  put_big_endian(call->cdb + 10, 4, request->length / dev->block_size);
  return call;
}

static int shim_read(void *state, struct ashlar_request *request) {
  struct tcmu_device *dev = state;
  struct call *call = request_call(dev, request, 0x88);
  if (!call) return -ENOMEM;
  return call_settle(
    dev, call,
    dev->handler->read(dev, &call->cmd, call->pieces, 1, request->length, (off_t)request->offset));
}

static int shim_write(void *state, struct ashlar_request *request) {
  struct tcmu_device *dev = state;
  struct call *call = request_call(dev, request, 0x8A);
  if (!call) return -ENOMEM;
  return call_settle(
    dev, call,
    dev->handler->write(dev, &call->cmd, call->pieces, 1, request->length, (off_t)request->offset));
}

static int shim_flush(void *state, struct ashlar_request *request) {
  struct tcmu_device *dev = state;
  struct call *call = request_call(dev, request, 0x91);
  if (!call) return -ENOMEM;
  return call_settle(dev, call, dev->handler->flush(dev, &call->cmd));
}

static int shim_discard(void *state, struct ashlar_request *request) {
  struct tcmu_device *dev = state;
  struct call *call = request_call(dev, request, 0x42);
  if (!call) return -ENOMEM;
  return call_settle(dev, call, dev->handler->unmap(dev, &call->cmd, request->offset, request->length));
}

static int shim_write_zeroes(void *state, struct ashlar_request *request) {
  struct tcmu_device *dev = state;
  struct call *call = request_call(dev, request, 0x93);
  if (!call) return -ENOMEM;
  call->block = calloc(1, dev->block_size);
  if (!call->block) {
    free(call);
    return -ENOMEM;
  }
  call->pieces[0] = (struct iovec){call->block, dev->block_size};
  int status = dev->handler->writesame(
    dev, &call->cmd, request->offset, request->length, call->pieces, 1);
  return call_settle(dev, call, status);
}

static int shim_command(void *state, struct ashlar_command *command) {
  struct tcmu_device *dev = state;
  struct call *call = call_make(command->piece_count, command->completion);
  if (!call) return -ENOMEM;
  call->command = command;
  call->cmd.done = call_done;
  memcpy(call->cdb, command->cdb, sizeof(call->cdb));
  for (size_t i = 0; i < command->piece_count; i++) {
    call->pieces[i] = command->pieces[i];
    call->data_length += command->pieces[i].iov_len;
  }
  int status = dev->handler->handle_cmd(dev, &call->cmd);
  // Here OK is the end also for a handler without threads; it has another word for what goes on.
  return status == STATUS_ASYNC_HANDLED ? ASHLAR_PENDING : call_end(call, status);
}

void runner_set_requests(struct ashlar_handler *out, const struct tcmur_handler *handler) {
  if (handler->read) out->read = shim_read;
  if (handler->write) out->write = shim_write;
  if (handler->flush) out->flush = shim_flush;
  if (handler->unmap) out->discard = shim_discard;
  if (handler->writesame) out->write_zeroes = shim_write_zeroes;
  if (handler->handle_cmd) out->command = shim_command;
}
