// Device-mapper for a host whose kernel has none, as far as the manager's stress goes: built as a shared object that is
// preloaded, it answers the ioctls of linux/dm-ioctl.h from a list in the process. Tables are kept and told, no block is
// ever mapped: what a device holds is tested on a real kernel (scripts/test-devicemapper).
//
// With DEVICEMAPPER_PAUSE, so many microseconds pass before a table is loaded: whoever removes the device meanwhile is
// met often, and not once in thousands of times.
//
// Devices have a major number that no driver can have, so that a node of one opens nothing.
//
// It takes turns by a lock that ThreadSanitizer does not know, and touches callers' memory where it does not look, as a
// kernel does: what the sanitizer sees of the manager's threads is not put in order by it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/dm-ioctl.h>
#include <sched.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEVICES = 64, TABLE = 4096, MAJOR = 4095 };

struct table {
  uint32_t count, size;
  char bytes[TABLE];
};

struct device {
  bool is_there, is_suspended, is_read_only, has_active, has_inactive;
  char name[DM_NAME_LEN], uuid[DM_UUID_LEN];
  struct table active, inactive;
};

static struct device devices[DEVICES];
static char lock;

static void take(void) {
  while (__atomic_test_and_set(&lock, __ATOMIC_ACQUIRE)) sched_yield();
}

static void release(void) { __atomic_clear(&lock, __ATOMIC_RELEASE); }

static struct device *find(const struct dm_ioctl *call) {
  for (int i = 0; i < DEVICES; i++) {
    struct device *each = &devices[i];
    if (!each->is_there) continue;
    if (call->uuid[0] ? !strcmp(each->uuid, call->uuid) : !strcmp(each->name, call->name)) return each;
  }
  return NULL;
}

static struct device *create(const struct dm_ioctl *call) {
  struct device *free_one = NULL;
  for (int i = 0; i < DEVICES; i++) {
    struct device *each = &devices[i];
    if (!each->is_there) {
      free_one = free_one ? free_one : each;
    } else if (!strcmp(each->name, call->name) || (call->uuid[0] && !strcmp(each->uuid, call->uuid))) {
      errno = EBUSY;
      return NULL;
    }
  }
  if (!free_one) {
    errno = ENOSPC;
    return NULL;
  }
  memset(free_one, 0, sizeof *free_one);
  free_one->is_there = true;
  memcpy(free_one->name, call->name, sizeof free_one->name);
  memcpy(free_one->uuid, call->uuid, sizeof free_one->uuid);
  return free_one;
}

// What every answer about a device says of it.
static void describe(struct dm_ioctl *call, const struct device *device) {
  unsigned minor = device - devices;
  memcpy(call->name, device->name, sizeof device->name);
  memcpy(call->uuid, device->uuid, sizeof device->uuid);
  call->dev = (minor & 0xff) | MAJOR << 8 | (minor & ~0xffu) << 12;
  call->open_count = 0;
  call->event_nr = 0;
  call->target_count = device->has_active ? device->active.count : 0;
  call->flags = (device->is_suspended ? DM_SUSPEND_FLAG : 0) | (device->is_read_only ? DM_READONLY_FLAG : 0) |
                (device->has_active ? DM_ACTIVE_PRESENT_FLAG : 0) |
                (device->has_inactive ? DM_INACTIVE_PRESENT_FLAG : 0);
}

// The place for so many bytes of an answer; NULL, with the flag for it, if the caller's buffer is too small.
static char *room(struct dm_ioctl *call, uint32_t capacity, uint32_t size) {
  if (call->data_start > capacity || size > capacity - call->data_start) {
    call->flags |= DM_BUFFER_FULL_FLAG;
    return NULL;
  }
  call->data_size = call->data_start + size;
  return (char *)call + call->data_start;
}

static void list_devices(struct dm_ioctl *call, uint32_t capacity) {
  uint32_t size = 0;
  for (int i = 0; i < DEVICES; i++) {
    if (devices[i].is_there) size += (sizeof(struct dm_name_list) + strlen(devices[i].name) + 8) / 8 * 8;
  }
  call->flags = 0;
  char *at = room(call, capacity, size ? size : sizeof(struct dm_name_list));
  if (!at) return;
  memset(at, 0, size ? size : sizeof(struct dm_name_list));
  struct dm_name_list *last = NULL;
  for (int i = 0; i < DEVICES; i++) {
    if (!devices[i].is_there) continue;
    struct dm_name_list *entry = (struct dm_name_list *)at;
    struct dm_ioctl told;
    describe(&told, &devices[i]);
    entry->dev = told.dev;
    strcpy(entry->name, devices[i].name);
    if (last) last->next = at - (char *)last;
    last = entry;
    at += (sizeof *entry + strlen(entry->name) + 8) / 8 * 8;
  }
}

static void list_versions(struct dm_ioctl *call, uint32_t capacity) {
  static const char *const targets[] = {"linear", "snapshot", "snapshot-origin", "snapshot-merge", "zero"};
  enum { COUNT = sizeof targets / sizeof targets[0], EACH = sizeof(struct dm_target_versions) + 20 };
  call->flags = 0;
  char *at = room(call, capacity, COUNT * EACH);
  if (!at) return;
  memset(at, 0, COUNT * EACH);
  for (int i = 0; i < COUNT; i++, at += EACH) {
    struct dm_target_versions *entry = (struct dm_target_versions *)at;
    entry->next = i + 1 < COUNT ? EACH : 0;
    entry->version[0] = 1;
    entry->version[1] = 16;
    strcpy(entry->name, targets[i]);
  }
}

// Records as they were loaded; there `next` counts from the record, here from the first one.
static void tell_table(struct dm_ioctl *call, uint32_t capacity, const struct device *device, bool is_status) {
  uint32_t count = device->has_active ? device->active.count : 0;
  char *to = room(call, capacity, device->active.size);
  if (!to) return;
  memcpy(to, device->active.bytes, device->active.size);
  uint32_t offset = 0;
  for (uint32_t i = 0; i < count; i++) {
    struct dm_target_spec *spec = (struct dm_target_spec *)(to + offset);
    offset += spec->next;
    spec->status = 0;
    spec->next = offset;
    // A snapshot's numbers are shorter than the parameters that stood there; the other targets say nothing.
    if (is_status) strcpy((char *)(spec + 1), strcmp(spec->target_type, "snapshot") ? "" : "0/8192 0");
  }
}

// The buffer is larger than the table: the records say where each of them ends.
static int load(struct dm_ioctl *call, uint32_t capacity, struct device *device) {
  const char *from = (char *)call + call->data_start;
  uint32_t size = 0;
  for (uint32_t i = 0; i < call->target_count; i++) {
    const struct dm_target_spec *spec = (const struct dm_target_spec *)(from + size);
    if (size + sizeof *spec > TABLE || spec->next < sizeof *spec || spec->next > TABLE - size ||
        call->data_start + size + spec->next > capacity) {
      errno = EINVAL;
      return -1;
    }
    size += spec->next;
  }
  device->inactive.count = call->target_count;
  device->inactive.size = size;
  memcpy(device->inactive.bytes, from, size);
  device->has_inactive = true;
  device->is_read_only = call->flags & DM_READONLY_FLAG;
  return 0;
}

// DM_DEV_SUSPEND: which of the two is meant, a flag says.
static void suspend_or_resume(const struct dm_ioctl *call, struct device *device) {
  device->is_suspended = call->flags & DM_SUSPEND_FLAG;
  if (device->is_suspended || !device->has_inactive) return;
  device->active = device->inactive;
  device->has_active = true;
  device->has_inactive = false;
}

static int about_device(unsigned number, struct dm_ioctl *call, uint32_t capacity) {
  struct device *device = number == DM_DEV_CREATE_CMD ? create(call) : find(call);
  if (!device) {
    if (number != DM_DEV_CREATE_CMD) errno = ENXIO;
    return -1;
  }
  uint32_t asked = call->flags;
  uint32_t start = call->data_start;
  switch (number) {
    case DM_DEV_CREATE_CMD:
    case DM_DEV_STATUS_CMD: break;
    case DM_DEV_REMOVE_CMD: device->is_there = false; break;
    case DM_DEV_SUSPEND_CMD: suspend_or_resume(call, device); break;
    case DM_TABLE_CLEAR_CMD: device->has_inactive = false; break;
    case DM_TABLE_LOAD_CMD:
      if (load(call, capacity, device) < 0) return -1;
      break;
    case DM_TABLE_STATUS_CMD:
      describe(call, device);
      tell_table(call, capacity, device, !(asked & DM_STATUS_TABLE_FLAG));
      return 0;
    default: errno = ENOTTY; return -1;
  }
  describe(call, device);
  call->data_start = start;
  call->data_size = start;
  return 0;
}

static int emulate(unsigned number, struct dm_ioctl *call) {
  uint32_t capacity = call->data_size;
  int result = 0;
  const char *microseconds = getenv("DEVICEMAPPER_PAUSE");
  if (microseconds && number == DM_TABLE_LOAD_CMD) usleep(atoi(microseconds));
  take();
  switch (number) {
    case DM_VERSION_CMD: break;
    case DM_LIST_DEVICES_CMD: list_devices(call, capacity); break;
    case DM_LIST_VERSIONS_CMD: list_versions(call, capacity); break;
    default: result = about_device(number, call, capacity);
  }
  release();
  return result;
}

int ioctl(int descriptor, unsigned long request, ...) {
  static int (*real)(int, unsigned long, ...);
  va_list arguments;
  va_start(arguments, request);
  void *argument = va_arg(arguments, void *);
  va_end(arguments);
  if (_IOC_TYPE(request) == DM_IOCTL) return emulate(_IOC_NR(request), argument);
  if (!__atomic_load_n(&real, __ATOMIC_RELAXED)) {
    __atomic_store_n(&real, (int (*)(int, unsigned long, ...))dlsym(RTLD_NEXT, "ioctl"), __ATOMIC_RELAXED);
  }
  return real(descriptor, request, argument);
}
