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
#include "rules/records.h"

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

PyObject *hnt_write_address(const struct hnt_address *address); /* None for version 0 */
/* 1 for a pair (ssrc, sequence), 0 for None. */
int hnt_read_stream(PyObject *object, struct hnt_header *out);
PyObject *hnt_write_stream(const struct hnt_header *stream);
PyObject *hnt_write_counters(const uint64_t counters[HNT_COUNTERS]);
PyObject *hnt_write_quality(const struct hnt_quality *record);
PyObject *hnt_write_view(const struct hnt_view *record);
PyObject *hnt_write_pinholes(const struct hnt_view *views); /* two, or None for NULL */

/* A tuple that takes over the values; NULL where one of them is. */
PyObject *hnt_tuple(PyObject *const *values, size_t count);

/* Records as records.h lists their fields: out as a tuple in that order, in from a dict by name. Each kind of
 * field has a PUT, or a TYPE and a TAKE. */
#define HNT_PUT(name, kind) HNT_PUT_##kind(record->name),
#define HNT_PUT_int(value) PyLong_FromLongLong((long long)(value))
#define HNT_PUT_maybe_int(value) ((value) < 0 ? Py_NewRef(Py_None) : PyLong_FromLongLong((long long)(value)))
#define HNT_PUT_float(value) PyFloat_FromDouble(value)
#define HNT_PUT_maybe_float(value) ((value) < 0 ? Py_NewRef(Py_None) : PyFloat_FromDouble(value))
#define HNT_PUT_bool(value) PyBool_FromLong(value)
#define HNT_PUT_address(value) hnt_write_address(&(value))
#define HNT_PUT_stream(value) hnt_write_stream(&(value))
#define HNT_PUT_counters(value) hnt_write_counters(value)
#define HNT_PUT_quality(value) hnt_write_quality(&(value))
#define HNT_PUT_pinholes(value) hnt_write_pinholes(value)

struct hnt_maybe_address {
    bool is_there;
    struct hnt_address address;
};
struct hnt_maybe_stream {
    bool is_there;
    struct hnt_header stream;
};

#define HNT_MEMBER(name, kind) HNT_TYPE_##kind name;
#define HNT_TYPE_int long long
#define HNT_TYPE_bits unsigned long long
#define HNT_TYPE_float double
#define HNT_TYPE_bool bool
#define HNT_TYPE_text PyObject *
#define HNT_TYPE_bytes struct hnt_records
#define HNT_TYPE_networks struct hnt_records
#define HNT_TYPE_tags struct hnt_records
#define HNT_TYPE_keys PyObject *
#define HNT_TYPE_addresses PyObject *
#define HNT_TYPE_checks PyObject *
#define HNT_TYPE_address struct hnt_maybe_address
#define HNT_TYPE_stream struct hnt_maybe_stream

#define HNT_TAKE(name, kind)                                                \
    if (HNT_TAKE_##kind(hnt_item(object, #name), &record.name) < 0) \
        return -1;
#define HNT_TAKE_int hnt_take_int
#define HNT_TAKE_bits hnt_take_bits
#define HNT_TAKE_float hnt_take_float
#define HNT_TAKE_bool hnt_take_bool
#define HNT_TAKE_text hnt_take_object
#define HNT_TAKE_bytes hnt_take_bytes
#define HNT_TAKE_networks hnt_take_bytes
#define HNT_TAKE_tags hnt_take_bytes
#define HNT_TAKE_keys hnt_take_object
#define HNT_TAKE_addresses hnt_take_object
#define HNT_TAKE_checks hnt_take_object
#define HNT_TAKE_address hnt_take_address
#define HNT_TAKE_stream hnt_take_stream

struct hnt_arm_record {
    HNT_ARM_FIELDS(HNT_MEMBER)
};
struct hnt_checks_record {
    HNT_CHECKS_FIELDS(HNT_MEMBER)
};

/* What reads returns -1, with an exception set, for what is none. */
PyObject *hnt_item(PyObject *record, const char *name); /* borrowed */
int hnt_take_int(PyObject *object, long long *out);
int hnt_take_bits(PyObject *object, unsigned long long *out);
int hnt_take_float(PyObject *object, double *out);
int hnt_take_bool(PyObject *object, bool *out);
int hnt_take_bytes(PyObject *object, struct hnt_records *out);
int hnt_take_object(PyObject *object, PyObject **out);
int hnt_take_address(PyObject *object, struct hnt_maybe_address *out);
int hnt_take_stream(PyObject *object, struct hnt_maybe_stream *out);
int hnt_read_arm(PyObject *object, struct hnt_arm_record *out);

int hnt_add_type(PyObject *module, PyType_Spec *spec);

#endif
