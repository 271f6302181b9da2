/* Windows has no table of media types that a server could use. */
#include "store/store_priv.h"

const char store_types_file[] = "";
