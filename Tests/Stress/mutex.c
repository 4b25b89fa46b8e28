// Tells ThreadSanitizer of Swift's Mutex what it cannot see. A lock that nobody else wants is one atomic operation in our
// own code, which is instrumented; one that has to wait is taken and given away in libswiftSynchronization, which is not,
// so that everything that is done under it would look like a race. Preloaded, this stands before that library's two
// functions and says what they do. A program without ThreadSanitizer that has it preloaded, too, goes on as it is.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdint.h>

__attribute__((weak)) void __tsan_acquire(void *address);
__attribute__((weak)) void __tsan_release(void *address);

#define SELF __attribute__((swift_context)) void *self
#define LOCK "$s15Synchronization12_MutexHandleV9_lockSlowyys6UInt32VF"
#define UNLOCK "$s15Synchronization12_MutexHandleV11_unlockSlowyyF"

typedef __attribute__((swiftcall)) void (*locking)(uint32_t thread, SELF);
typedef __attribute__((swiftcall)) void (*unlocking)(SELF);

static locking real_lock;
static unlocking real_unlock;

__attribute__((constructor)) static void find(void) {
  real_lock = (locking)dlsym(RTLD_NEXT, LOCK);
  real_unlock = (unlocking)dlsym(RTLD_NEXT, UNLOCK);
}

__attribute__((swiftcall)) void lock(uint32_t thread, SELF) __asm__(LOCK);
__attribute__((swiftcall)) void unlock(SELF) __asm__(UNLOCK);

__attribute__((swiftcall)) void lock(uint32_t thread, SELF) {
  real_lock(thread, self);
  if (__tsan_acquire) __tsan_acquire(self);
}

__attribute__((swiftcall)) void unlock(SELF) {
  if (__tsan_release) __tsan_release(self);
  real_unlock(self);
}
