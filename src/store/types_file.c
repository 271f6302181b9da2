/* Where the system keeps its media types. */
#include "store/store_priv.h"

const char store_types_file[] = "/etc/mime.types";
