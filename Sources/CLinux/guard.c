#include <pthread.h>
#include <setjmp.h>
#include <string.h>

#include "CLinux.h"

// The place to go back to while this thread copies from a mapped file; NULL otherwise.
static __thread jmp_buf *volatile recovery;

static struct sigaction previous;

static void on_sigbus(int number, siginfo_t *info, void *context) {
  jmp_buf *place = recovery;
  if (place != NULL) {
    recovery = NULL;
    _longjmp(*place, 1);
  }
  // Not ours: whoever was there before, or the default, which ends the process with the right signal.
  if (previous.sa_flags & SA_SIGINFO) {
    previous.sa_sigaction(number, info, context);
  } else if (previous.sa_handler != SIG_DFL && previous.sa_handler != SIG_IGN) {
    previous.sa_handler(number);
  } else {
    signal(SIGBUS, SIG_DFL);
  }
}

static void install(void) {
  struct sigaction action;
  memset(&action, 0, sizeof action);
  action.sa_sigaction = on_sigbus;
  // Not deferred: the way out of the handler is a jump, which would leave the signal blocked.
  action.sa_flags = SA_SIGINFO | SA_NODEFER;
  sigemptyset(&action.sa_mask);
  sigaction(SIGBUS, &action, &previous);
}

void clinux_guard_install(void) {
  static pthread_once_t once = PTHREAD_ONCE_INIT;
  pthread_once(&once, install);
}

int clinux_guarded_copy(void *destination, const void *source, size_t count) {
  jmp_buf place;
  if (_setjmp(place) != 0) return EIO;
  recovery = &place;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  memcpy(destination, source, count);
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  recovery = NULL;
  return 0;
}

int clinux_guarded_is_zero(const void *source, size_t count, bool *is_zero) {
  jmp_buf place;
  if (_setjmp(place) != 0) return EIO;
  recovery = &place;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  const unsigned char *bytes = source;
  size_t position = 0;
  uint64_t found = 0;
  // In steps that a compiler makes vectors of; most blocks with data end in the first one.
  for (; found == 0 && count - position >= 64; position += 64) {
    uint64_t words[8];
    memcpy(words, bytes + position, sizeof words);
    for (int index = 0; index < 8; index++) found |= words[index];
  }
  for (; found == 0 && position < count; position++) found = bytes[position];
  *is_zero = found == 0;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  recovery = NULL;
  return 0;
}

int clinux_guarded_compare(const void *one, const void *other, size_t count, bool *is_same) {
  jmp_buf place;
  if (_setjmp(place) != 0) return EIO;
  recovery = &place;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  *is_same = memcmp(one, other, count) == 0;
  __atomic_signal_fence(__ATOMIC_SEQ_CST);
  recovery = NULL;
  return 0;
}
