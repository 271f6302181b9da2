#include "lab.h"
const struct test_list file_tests = { NULL, 0 };
