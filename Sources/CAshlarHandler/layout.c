// Holds the interface to its promise: what version 1 has laid down stays where it is, on every machine of 64 bits.
#include "ashlar_handler.h"

#include <assert.h>

static_assert(sizeof(void *) == 8, "the layouts below are those of machines of 64 bits");

static_assert(offsetof(struct ashlar_host, log) == 16, "host");
static_assert(offsetof(struct ashlar_host, serial) == 40, "host");
static_assert(sizeof(struct ashlar_host) == 48, "host");

static_assert(offsetof(struct ashlar_opening, byte_count) == 16, "opening");
static_assert(offsetof(struct ashlar_opening, device) == 32, "opening");
static_assert(sizeof(struct ashlar_opening) == 56, "opening");

static_assert(offsetof(struct ashlar_geometry, block_size) == 16, "geometry");
static_assert(offsetof(struct ashlar_geometry, discard_maximum) == 32, "geometry");
static_assert(sizeof(struct ashlar_geometry) == 48, "geometry");

static_assert(offsetof(struct ashlar_request, data) == 24, "request");
static_assert(sizeof(struct ashlar_request) == 40, "request");

static_assert(offsetof(struct ashlar_command, status) == 40, "command");
static_assert(offsetof(struct ashlar_command, sense) == 42, "command");
static_assert(offsetof(struct ashlar_command, data_in_count) == 144, "command");
static_assert(sizeof(struct ashlar_command) == 152, "command");

static_assert(offsetof(struct ashlar_handler, concurrent_calls) == 32, "handler");
static_assert(offsetof(struct ashlar_handler, read) == 64, "handler");
static_assert(offsetof(struct ashlar_handler, set_write_cache) == 120, "handler");
static_assert(sizeof(struct ashlar_handler) == 128, "handler");
