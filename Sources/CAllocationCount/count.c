#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>

#include "CAllocationCount.h"

// glibc's own functions, under the names that it keeps for programs that replace the usual ones.
void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

static _Atomic int is_counting;
static _Atomic uint64_t count;
static pthread_t counted_thread;
static char counted_prefix[16];

static void note(void) {
  if (!atomic_load_explicit(&is_counting, memory_order_relaxed)) return;
  int counts = pthread_equal(pthread_self(), counted_thread);
  if (!counts && counted_prefix[0] != 0) {
    char name[16] = {0};
    prctl(PR_GET_NAME, name);
    counts = strncmp(name, counted_prefix, strlen(counted_prefix)) == 0;
  }
  if (counts) atomic_fetch_add_explicit(&count, 1, memory_order_relaxed);
}

void callocation_start(const char *prefix) {
  memset(counted_prefix, 0, sizeof counted_prefix);
  if (prefix != NULL) strncpy(counted_prefix, prefix, sizeof counted_prefix - 1);
  counted_thread = pthread_self();
  atomic_store(&count, 0);
  atomic_store(&is_counting, 1);
}

uint64_t callocation_stop(void) {
  atomic_store(&is_counting, 0);
  return atomic_load(&count);
}

void *malloc(size_t size) {
  note();
  return __libc_malloc(size);
}

void *calloc(size_t number, size_t size) {
  note();
  return __libc_calloc(number, size);
}

void *realloc(void *memory, size_t size) {
  note();
  return __libc_realloc(memory, size);
}

void *memalign(size_t alignment, size_t size) {
  note();
  return __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size) { return memalign(alignment, size); }

int posix_memalign(void **result, size_t alignment, size_t size) {
  void *memory = memalign(alignment, size);
  if (memory == NULL) return ENOMEM;
  *result = memory;
  return 0;
}
