// A disk of a test's own that loses writes: fdatasync(2) of one file, held back and failing as the kernel does it, which
// tells of a loss once for an open file and to one caller. All other files are flushed as ever.
#pragma once

#include <stdint.h>
#include <sys/types.h>

// Names the file, and begins anew: nothing is held back, nothing fails.
void flush_fault_begin(dev_t device, ino_t inode);
// Names none any more.
void flush_fault_end(void);
// Holds back flushes that have begun; with 0, lets them go.
void flush_fault_hold(int is_held);
// Has the next flush that ends be told of a loss.
void flush_fault_lose_a_write(void);
// How many flushes have begun, and how many of them are under way.
int flush_fault_begun(void);
int flush_fault_under_way(void);
// Waits until so many have begun.
void flush_fault_await(int count);
