// Runs handlers that were built for tcmu-runner 1.5 (`handler_*.so`) behind the interface of ashlar_handler.h.
//
// This library exports the functions that such handlers take from tcmu-runner and libtcmu. It has to be loaded with
// RTLD_GLOBAL before the handler, so that these are found, and found before those of a libtcmu that is installed.
#pragma once

#include "ashlar_handler.h"

// Loads a handler and lets it register itself.
//
// `path` names the file. Returns the handler, or NULL with the reason, part of a sentence, in `reason`. One call at a
// time.
const struct ashlar_handler *ashlar_tcmu_runner_load(
  const struct ashlar_host *host, const char *path, char *reason, size_t capacity);

// The function above, for dlsym(3).
typedef const struct ashlar_handler *(*ashlar_tcmu_runner_load_function)(
  const struct ashlar_host *host, const char *path, char *reason, size_t capacity);
