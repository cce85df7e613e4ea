/* The rules alone as Python types and functions, for the tests that compare them with relay/. */
#ifndef HNT_TWINS_H
#define HNT_TWINS_H

#include "python/values.h"

int hnt_add_latches(PyObject *module);
int hnt_add_rules(PyObject *module);

extern PyMethodDef hnt_rule_functions[];

#endif
