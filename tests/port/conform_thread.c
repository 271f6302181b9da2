#include "lab.h"
const struct test_list thread_tests = { NULL, 0 };
