/* Reads and writes the bytes and tuples of values.h; the Python side is plane/native.py. */
#include "python/values.h"

#include "rules/srtp.h"

#include <stdlib.h>
#include <string.h>

enum {
    NETWORK_RECORD = 18,
    TAG_RECORD = 2 * HNT_TAG_KEY + 3,
};

int hnt_read_address(PyObject *object, struct hnt_address *out)
{
    char *bytes;
    Py_ssize_t length;
    if (PyBytes_AsStringAndSize(object, &bytes, &length) < 0)
        return -1;
    if (length != 6 && length != 18) {
        PyErr_SetString(PyExc_ValueError, "an address is 6 or 18 bytes");
        return -1;
    }
    memset(out, 0, sizeof *out);
    memcpy(out->ip, bytes, (size_t)length - 2);
    out->version = length == 6 ? 4 : 6;
    out->port = (uint16_t)((uint8_t)bytes[length - 2] << 8 | (uint8_t)bytes[length - 1]);
    return 0;
}

PyObject *hnt_write_address(const struct hnt_address *address)
{
    char bytes[18];
    Py_ssize_t length = address->version == 4 ? 4 : 16;
    if (address->version == 0)
        Py_RETURN_NONE;
    memcpy(bytes, address->ip, (size_t)length);
    bytes[length] = (char)(address->port >> 8);
    bytes[length + 1] = (char)(address->port & 0xff);
    return PyBytes_FromStringAndSize(bytes, length + 2);
}

static int read_networks(struct hnt_records records, struct hnt_network *out)
{
    const char *bytes = records.bytes;
    for (Py_ssize_t at = 0; at < records.length; at += NETWORK_RECORD, out++) {
        out->version = (uint8_t)bytes[at];
        out->prefix = (uint8_t)bytes[at + 1];
        memcpy(out->ip, bytes + at + 2, 16);
        if ((out->version != 4 && out->version != 6) || out->prefix > (out->version == 4 ? 32 : 128)) {
            PyErr_SetString(PyExc_ValueError, "a network is of version 4 or 6, its prefix fits it");
            return -1;
        }
    }
    return 0;
}

static int read_bytes(PyObject *object, uint8_t *out, uint16_t *length, Py_ssize_t most)
{
    char *bytes;
    Py_ssize_t size;
    if (PyBytes_AsStringAndSize(object, &bytes, &size) < 0)
        return -1;
    if (size < 1 || size > most) {
        PyErr_Format(PyExc_ValueError, "a name of a key has 1 to %d bytes, its password 1 to %d",
                     (int)HNT_MAX_USERNAME, (int)HNT_MAX_PASSWORD);
        return -1;
    }
    memcpy(out, bytes, (size_t)size);
    *length = (uint16_t)size;
    return 0;
}

/* `keys` is a list of pairs, at most HNT_MAX_KEYS of them. */
static int read_keys(PyObject *keys, Py_ssize_t count, struct hnt_key *out)
{
    for (Py_ssize_t i = 0; i < count; i++, out++) {
        PyObject *pair = PyList_GetItem(keys, i);
        PyObject *username = PyTuple_GetItem(pair, 0), *password = username ? PyTuple_GetItem(pair, 1) : NULL;
        if (password == NULL ||
            read_bytes(username, out->username, &out->username_length, HNT_MAX_USERNAME) < 0 ||
            read_bytes(password, out->password, &out->password_length, HNT_MAX_PASSWORD) < 0)
            return -1;
    }
    return 0;
}

/* `length` is a multiple of TAG_RECORD. */
static int read_tags(const char *bytes, Py_ssize_t length, struct hnt_tag *out)
{
    for (const char *end = bytes + length; bytes < end; bytes += TAG_RECORD, out++) {
        memcpy(out->rtp, bytes, HNT_TAG_KEY);
        memcpy(out->rtcp, bytes + HNT_TAG_KEY, HNT_TAG_KEY);
        out->tag_bytes = (uint8_t)bytes[2 * HNT_TAG_KEY];
        out->mki_bytes = (uint16_t)((uint8_t)bytes[2 * HNT_TAG_KEY + 1] << 8 | (uint8_t)bytes[2 * HNT_TAG_KEY + 2]);
        if (out->tag_bytes < 1 || out->tag_bytes > HNT_TAG_KEY) {
            PyErr_SetString(PyExc_ValueError, "a tag has 1 to 20 bytes");
            return -1;
        }
        hnt_hmac_prepare(out->rtp, HNT_TAG_KEY, &out->rtp_hmac);
        hnt_hmac_prepare(out->rtcp, HNT_TAG_KEY, &out->rtcp_hmac);
    }
    return 0;
}

void hnt_read_events(struct hnt_records types, uint64_t out[2])
{
    for (Py_ssize_t i = 0; i < types.length; i++) {
        uint8_t type = (uint8_t)types.bytes[i];
        if (type < 128)
            out[type / 64] |= (uint64_t)1 << type % 64;
    }
}

struct hnt_evidence *hnt_read_evidence_of(struct hnt_records sources, struct hnt_records refused,
                                          struct hnt_records likely, unsigned char probation, bool several,
                                          PyObject *keys, struct hnt_records tags)
{
    Py_ssize_t key_count = keys == NULL ? 0 : PyList_Size(keys);
    if (key_count < 0)
        return NULL;
    if (key_count > HNT_MAX_KEYS) {
        PyErr_Format(PyExc_ValueError, "evidence has at most %d keys", (int)HNT_MAX_KEYS);
        return NULL;
    }
    if (sources.length % NETWORK_RECORD || refused.length % NETWORK_RECORD || likely.length % NETWORK_RECORD ||
        sources.length + refused.length + likely.length > HNT_MAX_NETWORKS * NETWORK_RECORD) {
        PyErr_Format(PyExc_ValueError, "networks are records of %d bytes, at most %d of them",
                     (int)NETWORK_RECORD, (int)HNT_MAX_NETWORKS);
        return NULL;
    }
    if (tags.length % TAG_RECORD || tags.length > HNT_MAX_TAGS * TAG_RECORD) {
        PyErr_Format(PyExc_ValueError, "tags are records of %d bytes, at most %d of them", (int)TAG_RECORD,
                     (int)HNT_MAX_TAGS);
        return NULL;
    }
    uint16_t wanted = (uint16_t)(sources.length / NETWORK_RECORD);
    uint16_t unwanted = (uint16_t)(refused.length / NETWORK_RECORD);
    uint16_t favoured = (uint16_t)(likely.length / NETWORK_RECORD);
    struct hnt_evidence *evidence;
    size_t keys_at = sizeof *evidence + (size_t)(wanted + unwanted + favoured) * sizeof evidence->networks[0];
    size_t tag_count = (size_t)tags.length / TAG_RECORD, tags_at = keys_at + (size_t)key_count * sizeof *evidence->key;
    tags_at += -tags_at % _Alignof(struct hnt_tag);
    evidence = malloc(tags_at + tag_count * sizeof *evidence->tag);
    if (evidence == NULL)
        return (struct hnt_evidence *)(void *)PyErr_NoMemory();
    evidence->keys = (uint8_t)key_count;
    evidence->key = (struct hnt_key *)(void *)((char *)evidence + keys_at); /* of even alignment, as all are */
    evidence->tags = (uint8_t)tag_count;
    evidence->tag = (struct hnt_tag *)(void *)((char *)evidence + tags_at);
    evidence->sources = wanted;
    evidence->refused = unwanted;
    evidence->likely = favoured;
    evidence->probation = probation;
    evidence->several = several;
    evidence->reports = false;
    evidence->lapse_s = HNT_LAPSE_S;
    evidence->events[0] = evidence->events[1] = 0;
    if (read_networks(sources, evidence->networks) < 0 ||
        read_networks(refused, evidence->networks + wanted) < 0 ||
        read_networks(likely, evidence->networks + wanted + unwanted) < 0 ||
        read_keys(keys, key_count, evidence->key) < 0 || read_tags(tags.bytes, tags.length, evidence->tag) < 0) {
        free(evidence);
        return NULL;
    }
    return evidence;
}

int hnt_read_stream(PyObject *object, struct hnt_header *out)
{
    unsigned int ssrc;
    unsigned short sequence;
    if (object == Py_None)
        return 0;
    if (!PyArg_ParseTuple(object, "IH", &ssrc, &sequence))
        return -1;
    *out = (struct hnt_header){.ssrc = ssrc, .sequence = sequence, .kind = HNT_RTP};
    return 1;
}

PyObject *hnt_tuple(PyObject *const *values, size_t count)
{
    PyObject *tuple = PyTuple_New((Py_ssize_t)count);
    bool failed = tuple == NULL;
    for (size_t i = 0; i < count; i++) {
        failed |= values[i] == NULL;
        if (tuple != NULL)
            PyTuple_SetItem(tuple, (Py_ssize_t)i, values[i]); /* takes it over, NULL too */
        else
            Py_XDECREF(values[i]);
    }
    if (failed)
        Py_CLEAR(tuple);
    return tuple;
}

PyObject *hnt_write_stream(const struct hnt_header *stream)
{
    if (stream->kind != HNT_RTP)
        Py_RETURN_NONE;
    return Py_BuildValue("(Ii)", stream->ssrc, (int)stream->sequence);
}

PyObject *hnt_write_counters(const uint64_t counters[HNT_COUNTERS])
{
    PyObject *values[HNT_COUNTERS];
    for (int i = 0; i < HNT_COUNTERS; i++)
        values[i] = PyLong_FromUnsignedLongLong(counters[i]);
    return hnt_tuple(values, HNT_COUNTERS);
}

PyObject *hnt_write_quality(const struct hnt_quality *record)
{
    PyObject *values[] = {HNT_QUALITY_FIELDS(HNT_PUT)};
    return hnt_tuple(values, sizeof values / sizeof values[0]);
}

PyObject *hnt_write_view(const struct hnt_view *record)
{
    PyObject *values[] = {HNT_PINHOLE_FIELDS(HNT_PUT)};
    return hnt_tuple(values, sizeof values / sizeof values[0]);
}

PyObject *hnt_write_pinholes(const struct hnt_view *views)
{
    if (views == NULL)
        Py_RETURN_NONE;
    return Py_BuildValue("(NN)", hnt_write_view(&views[0]), hnt_write_view(&views[1]));
}

/* Records that come in. */

PyObject *hnt_item(PyObject *record, const char *name)
{
    PyObject *found = PyDict_GetItemString(record, name);
    if (found == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_KeyError, "the record has no field %s", name);
    return found;
}

int hnt_take_int(PyObject *object, long long *out)
{
    *out = object == NULL ? -1 : PyLong_AsLongLong(object);
    return *out == -1 && PyErr_Occurred() ? -1 : 0;
}

int hnt_take_bits(PyObject *object, unsigned long long *out)
{
    *out = object == NULL ? 0 : PyLong_AsUnsignedLongLong(object);
    return PyErr_Occurred() ? -1 : 0;
}

int hnt_take_float(PyObject *object, double *out)
{
    *out = object == NULL ? -1 : PyFloat_AsDouble(object);
    return PyErr_Occurred() ? -1 : 0;
}

int hnt_take_bool(PyObject *object, bool *out)
{
    int found = object == NULL ? -1 : PyObject_IsTrue(object);
    *out = found > 0;
    return found < 0 ? -1 : 0;
}

int hnt_take_bytes(PyObject *object, struct hnt_records *out)
{
    char *bytes;
    if (object == NULL || PyBytes_AsStringAndSize(object, &bytes, &out->length) < 0)
        return -1;
    out->bytes = bytes;
    return 0;
}

int hnt_take_object(PyObject *object, PyObject **out)
{
    *out = object;
    return object == NULL ? -1 : 0;
}

int hnt_take_address(PyObject *object, struct hnt_maybe_address *out)
{
    out->is_there = object != NULL && object != Py_None;
    return object == NULL || (out->is_there && hnt_read_address(object, &out->address) < 0) ? -1 : 0;
}

int hnt_take_stream(PyObject *object, struct hnt_maybe_stream *out)
{
    int known = object == NULL ? -1 : hnt_read_stream(object, &out->stream);
    out->is_there = known > 0;
    return known < 0 ? -1 : 0;
}

static int put_checks(const struct hnt_checks_record *record, struct hnt_checks *out)
{
    memset(out, 0, sizeof *out);
    if (read_bytes(record->username, out->key.username, &out->key.username_length, HNT_MAX_USERNAME) < 0 ||
        read_bytes(record->password, out->key.password, &out->key.password_length, HNT_MAX_PASSWORD) < 0 ||
        read_bytes(record->secret, out->secret, &out->secret_length, HNT_MAX_PASSWORD) < 0)
        return -1;
    out->tie_breaker = record->tie_breaker;
    out->controlling = record->controlling;
    Py_ssize_t count = PyList_Size(record->targets);
    if (count > HNT_TARGETS)
        PyErr_Format(PyExc_ValueError, "checks have at most %d targets", (int)HNT_TARGETS);
    if (count < 0 || count > HNT_TARGETS)
        return -1;
    for (Py_ssize_t i = 0; i < count; i++)
        if (hnt_read_address(PyList_GetItem(record->targets, i), &out->target[i]) < 0)
            return -1;
    out->targets = (unsigned)count;
    return 0;
}

int hnt_read_checks(PyObject *object, struct hnt_checks *out)
{
    struct hnt_checks_record record;
    HNT_CHECKS_FIELDS(HNT_TAKE)
    return put_checks(&record, out);
}

int hnt_read_arm(PyObject *object, struct hnt_arm_record *out)
{
    struct hnt_arm_record record;
    HNT_ARM_FIELDS(HNT_TAKE)
    if (record.side < 0 || record.side > 1 || record.generation < 0 || record.generation > INT32_MAX ||
        record.probation < 1 || record.probation > UINT8_MAX) {
        PyErr_SetString(PyExc_ValueError, "a side is 0 or 1, a generation has 31 bits, a probation is of 1 to 255 packets");
        return -1;
    }
    *out = record;
    return 0;
}

int hnt_add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int added = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return added;
}
