// The kernel's interface to device-mapper, and from libdevmapper what its udev rules and its status parsers know.
#include <libdevmapper.h>
#include <linux/dm-ioctl.h>
#include <sys/ioctl.h>

// Numbers that <linux/dm-ioctl.h> computes with macros of a shape that is not imported.
static const unsigned long cdm_LIST_DEVICES = DM_LIST_DEVICES;
static const unsigned long cdm_DEV_CREATE = DM_DEV_CREATE;
static const unsigned long cdm_DEV_REMOVE = DM_DEV_REMOVE;
static const unsigned long cdm_DEV_RENAME = DM_DEV_RENAME;
static const unsigned long cdm_DEV_SUSPEND = DM_DEV_SUSPEND;
static const unsigned long cdm_DEV_STATUS = DM_DEV_STATUS;
static const unsigned long cdm_TABLE_LOAD = DM_TABLE_LOAD;
static const unsigned long cdm_TABLE_CLEAR = DM_TABLE_CLEAR;
static const unsigned long cdm_TABLE_STATUS = DM_TABLE_STATUS;
static const unsigned long cdm_TABLE_DEPS = DM_TABLE_DEPS;
static const unsigned long cdm_LIST_VERSIONS = DM_LIST_VERSIONS;
static const unsigned long cdm_TARGET_MSG = DM_TARGET_MSG;
