/* Values between Python and C. Addresses are bytes: the IP address (4 or 16) and the port (2, big endian).
 * Networks are records of 18 bytes: version, prefix, and the IP address padded to 16. Tags are records of 43
 * bytes: the keys for RTP and RTCP, the length of a tag, and that of an MKI (2, big endian). */
#ifndef HNT_VALUES_H
#define HNT_VALUES_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "rules/agent.h"
#include "io/engine.h"
#include "rules/quality.h"

/* What reads returns -1, or NULL, with an exception set, for what is none. */
int hnt_read_address(PyObject *object, struct hnt_address *out);
int hnt_read_checks(PyObject *object, struct hnt_checks *out);

/* Bytes of networks or of tags, one record after the other. */
struct hnt_records {
    const char *bytes;
    Py_ssize_t length;
};

/* A byte for each payload type; those over 127 are none. */
void hnt_read_events(struct hnt_records types, uint64_t out[2]);

/* The caller frees it. */
struct hnt_evidence *hnt_read_evidence_of(struct hnt_records sources, struct hnt_records refused,
                                          struct hnt_records likely, unsigned char probation, bool several,
                                          PyObject *keys, struct hnt_records tags);
/* The same without likely sources. */
struct hnt_evidence *hnt_read_evidence(const char *sources, Py_ssize_t sources_length, const char *refused,
                                       Py_ssize_t refused_length, unsigned char probation, bool several,
                                       PyObject *keys, const char *tags, Py_ssize_t tags_length);

PyObject *hnt_write_address(const struct hnt_address *address); /* None for version 0 */
/* 1 for a pair (ssrc, sequence), 0 for None. */
int hnt_read_stream(PyObject *object, struct hnt_header *out);
PyObject *hnt_write_quality(const struct hnt_quality *quality);

int hnt_add_type(PyObject *module, PyType_Spec *spec);

#endif
