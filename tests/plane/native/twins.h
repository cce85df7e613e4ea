/* The rules alone as Python types and functions, for the tests that compare them with relay/. */
#ifndef HNT_TWINS_H
#define HNT_TWINS_H

#include "python/values.h"

/* As `hnt_read_evidence_of`, without likely sources. */
struct hnt_evidence *hnt_read_evidence(const char *sources, Py_ssize_t sources_length, const char *refused,
                                       Py_ssize_t refused_length, unsigned char probation, bool several,
                                       PyObject *keys, const char *tags, Py_ssize_t tags_length);

int hnt_add_latches(PyObject *module);
int hnt_add_rules(PyObject *module);

extern PyMethodDef hnt_rule_functions[];

#endif
