// sd-bus, and what Swift cannot express of it: the table of an interface is made by macros. No policy.
#pragma once

#include <string.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>

// Entries that the function below writes.
enum { CSYSTEMD_INTERFACE_ENTRIES = 4 };

// org.kernel.TCMUService1, the interface of one handler: everybody may ask.
static inline void csystemd_handler_interface(
    sd_bus_vtable *table, sd_bus_message_handler_t check_config, sd_bus_property_get_t config_description) {
  // Static, so that what the macros leave out of the unions is zero.
  static const sd_bus_vtable entries[CSYSTEMD_INTERFACE_ENTRIES] = {
      SD_BUS_VTABLE_START(0),
      SD_BUS_METHOD_WITH_ARGS(
          "CheckConfig", SD_BUS_ARGS("s", configstr), SD_BUS_RESULT("b", is_valid, "s", message), NULL,
          SD_BUS_VTABLE_UNPRIVILEGED),
      SD_BUS_PROPERTY("ConfigDesc", "s", NULL, 0, SD_BUS_VTABLE_PROPERTY_CONST),
      SD_BUS_VTABLE_END,
  };
  memcpy(table, entries, sizeof entries);
  table[1].x.method.handler = check_config;
  table[2].x.property.get = config_description;
}
