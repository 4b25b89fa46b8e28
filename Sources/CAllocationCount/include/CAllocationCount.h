// Counts memory allocations for tests: in a program that links this, every malloc, calloc, realloc and
// aligned allocation passes here on its way to glibc.
#pragma once

#include <stdint.h>

// Starts counting: the allocations of the calling thread, and those of threads whose name begins with
// `prefix` (at most 15 bytes; NULL for none).
void callocation_start(const char *prefix);

// Stops counting and returns how many allocations there were.
uint64_t callocation_stop(void);
