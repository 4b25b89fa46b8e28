// The low-level interface of libfuse 3.14, the oldest release with fuse_session_custom_io().
#define FUSE_USE_VERSION 314
#include <fuse_lowlevel.h>
