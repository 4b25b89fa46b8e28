// The log as handlers know it: the functions of libtcmu_log.h.
#include "runner.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

enum { LINE_CAPACITY = 1024, LEVEL_CRITICAL = 2, LEVEL_COMMAND = 8 };

static _Thread_local char last_error[LINE_CAPACITY];

const char *runner_last_error(void) { return last_error; }

void runner_forget_error(void) { last_error[0] = 0; }

static void write_line(
  struct tcmu_device *dev, int level, const char *function, int line, const char *format, va_list arguments) {
  if (level > runner_host->log_level && level > ASHLAR_LOG_ERROR) return;
  char text[LINE_CAPACITY];
  vsnprintf(text, sizeof(text), format, arguments);
  size_t length = strlen(text);
  while (length > 0 && text[length - 1] == '\n') text[--length] = 0;
  if (level <= ASHLAR_LOG_ERROR) memcpy(last_error, text, length + 1);
  if (level > runner_host->log_level) return;
  char whole[LINE_CAPACITY + 128];
  snprintf(whole, sizeof(whole), "%s:%d: %s", function, line, text);
  runner_host->log(dev ? dev->device : NULL, level, whole);
}

#define MESSAGE(name, level)                                                                          \
  __attribute__((format(printf, 4, 5))) void name(                                                    \
    struct tcmu_device *dev, const char *function, int line, const char *format, ...) {               \
    va_list arguments;                                                                                \
    va_start(arguments, format);                                                                      \
    write_line(dev, level, function, line, format, arguments);                                        \
    va_end(arguments);                                                                                \
  }

MESSAGE(tcmu_crit_message, LEVEL_CRITICAL)
MESSAGE(tcmu_err_message, ASHLAR_LOG_ERROR)
MESSAGE(tcmu_warn_message, ASHLAR_LOG_WARNING)
MESSAGE(tcmu_info_message, ASHLAR_LOG_INFO)
MESSAGE(tcmu_dbg_message, ASHLAR_LOG_DEBUG)
MESSAGE(tcmu_dbg_scsi_cmd_message, LEVEL_COMMAND)

unsigned int tcmu_get_log_level(void) { return (unsigned int)runner_host->log_level; }

// The level is the host's to set.
void tcmu_set_log_level(int level) { (void)level; }
