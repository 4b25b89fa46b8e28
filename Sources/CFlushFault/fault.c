#include <errno.h>
#include <pthread.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "CFlushFault.h"

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static dev_t wanted_device;
static ino_t wanted_inode;
static int is_wanted, is_held, has_lost, begun, under_way;

// In place of the C library's.
int fdatasync(int fd) {
  struct stat status;
  pthread_mutex_lock(&lock);
  int is_it = is_wanted && fstat(fd, &status) == 0 && status.st_dev == wanted_device && status.st_ino == wanted_inode;
  if (!is_it) {
    pthread_mutex_unlock(&lock);
    return (int)syscall(SYS_fdatasync, fd);
  }
  begun++;
  under_way++;
  pthread_cond_broadcast(&changed);
  while (is_held) pthread_cond_wait(&changed, &lock);
  int fails = has_lost;
  has_lost = 0;
  under_way--;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
  if (!fails) return (int)syscall(SYS_fdatasync, fd);
  errno = EIO;
  return -1;
}

void flush_fault_begin(dev_t device, ino_t inode) {
  pthread_mutex_lock(&lock);
  wanted_device = device;
  wanted_inode = inode;
  is_wanted = 1;
  is_held = has_lost = begun = under_way = 0;
  pthread_mutex_unlock(&lock);
}

void flush_fault_end(void) {
  pthread_mutex_lock(&lock);
  is_wanted = 0;
  is_held = 0;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

void flush_fault_hold(int held) {
  pthread_mutex_lock(&lock);
  is_held = held;
  pthread_cond_broadcast(&changed);
  pthread_mutex_unlock(&lock);
}

void flush_fault_lose_a_write(void) {
  pthread_mutex_lock(&lock);
  has_lost = 1;
  pthread_mutex_unlock(&lock);
}

int flush_fault_begun(void) {
  pthread_mutex_lock(&lock);
  int count = begun;
  pthread_mutex_unlock(&lock);
  return count;
}

int flush_fault_under_way(void) {
  pthread_mutex_lock(&lock);
  int count = under_way;
  pthread_mutex_unlock(&lock);
  return count;
}

void flush_fault_await(int count) {
  pthread_mutex_lock(&lock);
  while (begun < count) pthread_cond_wait(&changed, &lock);
  pthread_mutex_unlock(&lock);
}
