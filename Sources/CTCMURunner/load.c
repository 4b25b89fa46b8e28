// Loading a handler, and opening and closing its disks.
#include "ashlar_tcmu_runner.h"
#include "runner.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// Blocks of the longest discard if the handler says nothing: tcmu-runner's.
enum { USUAL_MAXIMUM_UNMAP = 32 << 20 };

const struct ashlar_host *runner_host;

// What the handler that is being loaded has registered.
static const struct tcmur_handler *registered;

int tcmur_register_handler(struct tcmur_handler *handler) {
  if (registered) return -1;
  registered = handler;
  return handler->init ? handler->init() : 0;
}

bool tcmur_unregister_handler(struct tcmur_handler *handler) {
  if (registered != handler) return false;
  registered = NULL;
  if (handler->destroy) handler->destroy();
  return true;
}

static char *whole_configuration(const struct tcmur_handler *handler, const char *rest) {
  size_t capacity = strlen(handler->subtype) + strlen(rest) + 2;
  char *whole = malloc(capacity);
  if (!whole) return NULL;
  snprintf(whole, capacity, "%s/%s", handler->subtype, rest);
  // An option of tcmu-runner's own, which it takes out before the handler sees it.
  char *option;
  while ((option = strstr(whole, ";tcmur_cmd_time_out="))) {
    char *end = strchr(option + 1, ';');
    // It is written with a `;` on both sides, of which one stays where something follows.
    const char *behind = end && end[1] ? end : "";
    memmove(option, behind, strlen(behind) + 1);
  }
  return whole;
}

static int shim_check_config(void *context, const char *configuration, char *reason, size_t capacity) {
  const struct tcmur_handler *handler = context;
  char *whole = whole_configuration(handler, configuration);
  if (!whole) return -ENOMEM;
  char *why = NULL;
  bool is_valid = handler->check_config(whole, &why);
  if (!is_valid) snprintf(reason, capacity, "%s", why ? why : "the handler does not accept it");
  // Only a refusal has a reason of its own to be freed.
  if (!is_valid) free(why);
  free(whole);
  return is_valid ? 0 : -EINVAL;
}

static void device_free(struct tcmu_device *dev) {
  free(dev->cfgstring);
  free(dev);
}

// Tells the host what the handler has made of the device.
static void describe(const struct tcmu_device *dev, struct ashlar_geometry *geometry) {
  geometry->block_size = dev->block_size;
  geometry->byte_count = dev->block_count * dev->block_size;
  if (dev->has_write_cache) geometry->flags |= ASHLAR_WRITE_CACHE;
  if (dev->is_solid_state) geometry->flags |= ASHLAR_SOLID_STATE;
  if (!dev->can_unmap) return;
  geometry->discard_granularity = dev->unmap_granularity * dev->block_size;
  geometry->discard_alignment = dev->unmap_alignment * dev->block_size;
  geometry->discard_maximum = (uint64_t)dev->maximum_unmap * dev->block_size;
}

static int shim_open(
  void *context, const struct ashlar_opening *opening, struct ashlar_geometry *geometry, void **state) {
  const struct tcmur_handler *handler = context;
  struct tcmu_device *dev = calloc(1, sizeof(*dev));
  if (!dev) return -ENOMEM;
  dev->cfgstring = whole_configuration(handler, opening->configuration);
  if (!dev->cfgstring) {
    free(dev);
    return -ENOMEM;
  }
  dev->runner_part[0] = dev;
  dev->handler = handler;
  dev->device = opening->device;
  dev->byte_count = opening->byte_count;
  dev->block_size = opening->block_size;
  dev->asked_block_size = opening->block_size;
  dev->block_count = opening->byte_count / opening->block_size;
  dev->maximum_transfer = opening->maximum_transfer;
  dev->copy_length = opening->maximum_transfer;
  dev->maximum_unmap = USUAL_MAXIMUM_UNMAP;
  dev->unmap_granularity = opening->maximum_transfer;
  dev->can_unmap = handler->unmap != NULL;

  runner_forget_error();
  int result = handler->open(dev, (opening->flags & ASHLAR_REOPEN) != 0);
  if (result != 0) {
    snprintf(opening->reason, opening->reason_capacity, "%s", runner_last_error());
    device_free(dev);
    // Some say -1 for any failure, which as an error number would speak of permissions.
    return result < -1 ? result : -EIO;
  }
  describe(dev, geometry);
  *state = dev;
  return 0;
}

static void shim_close(void *state) {
  struct tcmu_device *dev = state;
  if (dev->handler->close) dev->handler->close(dev);
  device_free(dev);
}

static int shim_resize(void *state, uint64_t byte_count) {
  struct tcmu_device *dev = state;
  uint64_t block_count = byte_count / dev->block_size;
  if (dev->block_count == block_count) return 0;
  struct tcmulib_cfg_info info = {.type = RECONFIG_SIZE, .data.dev_size = byte_count};
  int result = dev->handler->reconfig(dev, &info);
  if (result != 0) return result < 0 ? result : -EIO;
  dev->byte_count = byte_count;
  dev->block_count = block_count;
  return 0;
}

static int shim_set_write_cache(void *state, int enabled) {
  struct tcmu_device *dev = state;
  struct tcmulib_cfg_info info = {.type = RECONFIG_WRITE_CACHE, .data.write_cache = enabled != 0};
  int result = dev->handler->reconfig(dev, &info);
  if (result != 0) return result < 0 ? result : -EIO;
  dev->has_write_cache = enabled != 0;
  return 0;
}

// The handler in the host's terms; it lives as long as the process.
static const struct ashlar_handler *translate(const struct tcmur_handler *handler) {
  struct ashlar_handler *out = calloc(1, sizeof(*out));
  if (!out) return NULL;
  out->version = ASHLAR_HANDLER_VERSION;
  out->size = sizeof(*out);
  out->subtype = handler->subtype;
  out->description = handler->cfg_desc;
  out->context = (void *)handler;
  // One without threads is called from one thread of tcmu-runner's.
  out->concurrent_calls = handler->nr_threads > 0 ? (uint32_t)handler->nr_threads : 1;
  if (handler->check_config) out->check_config = shim_check_config;
  out->open = shim_open;
  out->close = shim_close;
  if (handler->reconfig) {
    out->resize = shim_resize;
    out->set_write_cache = shim_set_write_cache;
  }
  runner_set_requests(out, handler);
  return out;
}

const struct ashlar_handler *ashlar_tcmu_runner_load(
  const struct ashlar_host *host, const char *path, char *reason, size_t capacity) {
  runner_host = host;
  registered = NULL;
  void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    snprintf(reason, capacity, "%s", dlerror());
    return NULL;
  }
  int (*init)(void) = (int (*)(void))dlsym(library, "handler_init");
  if (!init) {
    snprintf(reason, capacity, "it exports no handler_init");
    return NULL;
  }
  int result = init();
  if (result != 0 || !registered) {
    snprintf(reason, capacity, "its handler_init returned %d and registered %s", result,
      registered ? "a handler" : "no handler");
    return NULL;
  }
  if (!registered->subtype || !registered->open) {
    snprintf(reason, capacity, "the handler that it registered has no subtype or no open function");
    return NULL;
  }
  const struct ashlar_handler *handler = translate(registered);
  if (!handler) snprintf(reason, capacity, "there is no memory for it");
  return handler;
}
