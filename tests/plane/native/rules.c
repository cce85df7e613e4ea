/* The agent, the quality of a stream, policing, lingering, STUN and classification: their twins are in relay/. */
#include "twins.h"

#include <stdlib.h>
#include <string.h>

#include "rules/bars.h"
#include "rules/lingering.h"
#include "io/pinhole.h"
#include "rules/sha1.h"

/* IceAgent: relay/ice_agent.py */

typedef struct {
    PyObject_HEAD
    struct hnt_agent agent;
} Agent;

static PyObject *agent_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    return allocate(type, 0); /* zeroed */
}

static PyObject *agent_arm(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_checks checks;
    if (!PyArg_ParseTuple(args, "Od", &object, &now) || hnt_read_checks(object, &checks) < 0)
        return NULL;
    hnt_agent_arm(&((Agent *)self)->agent, &checks, now);
    Py_RETURN_NONE;
}

static PyObject *agent_answer(PyObject *self, PyObject *args)
{
    PyObject *object;
    const char *data, *password;
    Py_ssize_t length, password_length;
    double now;
    uint8_t answer[HNT_LONGEST_OWN];
    struct hnt_address source;
    struct hnt_binding_message message;
    if (!PyArg_ParseTuple(args, "y#Oy#d", &data, &length, &object, &password, &password_length, &now) ||
        hnt_read_address(object, &source) < 0)
        return NULL;
    if (!hnt_stun_parse((const uint8_t *)data, (size_t)length, &message))
        Py_RETURN_NONE;
    const struct hnt_password key = {(const uint8_t *)password, (size_t)password_length};
    size_t written = hnt_agent_answer(&((Agent *)self)->agent, &message, &source, key, now, answer);
    return PyBytes_FromStringAndSize((const char *)answer, (Py_ssize_t)written);
}

static PyObject *agent_hear(PyObject *self, PyObject *args)
{
    PyObject *object;
    const char *data;
    Py_ssize_t length;
    double now;
    struct hnt_address source;
    struct hnt_binding_message message;
    if (!PyArg_ParseTuple(args, "y#Od", &data, &length, &object, &now) || hnt_read_address(object, &source) < 0)
        return NULL;
    const uint8_t *bytes = (const uint8_t *)data;
    if (!hnt_stun_parse(bytes, (size_t)length, &message))
        return PyLong_FromLong(HNT_NOTHING);
    return PyLong_FromLong((long)hnt_agent_hear(&((Agent *)self)->agent, &message, bytes, &source, now));
}

static PyObject *agent_tick(PyObject *self, PyObject *args)
{
    PyObject *selected;
    double now;
    struct hnt_address source;
    struct hnt_own_check checks[HNT_PER_TICK];
    if (!PyArg_ParseTuple(args, "Od", &selected, &now) ||
        (selected != Py_None && hnt_read_address(selected, &source) < 0))
        return NULL;
    unsigned due = hnt_agent_tick(&((Agent *)self)->agent, selected == Py_None ? NULL : &source, now, checks);
    PyObject *list = PyList_New(0);
    for (unsigned i = 0; list != NULL && i < due; i++) {
        PyObject *each = Py_BuildValue("(Ny#)", hnt_write_address(&checks[i].to), checks[i].bytes,
                                       (Py_ssize_t)checks[i].length);
        if (each == NULL || PyList_Append(list, each) < 0)
            Py_CLEAR(list);
        Py_XDECREF(each);
    }
    return list;
}

static PyObject *agent_has_lost(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_address source;
    if (!PyArg_ParseTuple(args, "Od", &object, &now) || hnt_read_address(object, &source) < 0)
        return NULL;
    return PyBool_FromLong(hnt_agent_has_lost(&((Agent *)self)->agent, &source, now));
}

static PyMethodDef agent_methods[] = {
    {"arm", agent_arm, METH_VARARGS, "arm(checks, now)"},
    {"answer", agent_answer, METH_VARARGS, "answer(datagram, source, password, now) -> bytes"},
    {"hear", agent_hear, METH_VARARGS, "hear(datagram, source, now) -> int"},
    {"tick", agent_tick, METH_VARARGS, "tick(selected, now) -> [(address, datagram)]"},
    {"has_lost", agent_has_lost, METH_VARARGS, "has_lost(selected, now) -> bool"},
    {NULL, NULL, 0, NULL},
};

static void plain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static PyType_Slot agent_slots[] = {
    {Py_tp_new, agent_new},
    {Py_tp_dealloc, plain_dealloc},
    {Py_tp_methods, agent_methods},
    {0, NULL},
};

static PyType_Spec agent_spec = {
    "tests.plane._twins.IceAgent", sizeof(Agent), 0, Py_TPFLAGS_DEFAULT, agent_slots,
};

/* Stream: relay/quality.py */

typedef struct {
    PyObject_HEAD
    struct hnt_stream stream;
} Stream;

static PyObject *stream_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Stream *self = (Stream *)allocate(type, 0);
    if (self != NULL)
        hnt_stream_init(&self->stream);
    return (PyObject *)self;
}

static PyObject *stream_observe(PyObject *self, PyObject *args)
{
    const char *data;
    Py_ssize_t length;
    double now;
    PyObject *other;
    if (!PyArg_ParseTuple(args, "y#dO", &data, &length, &now, &other))
        return NULL;
    if (Py_TYPE(other) != Py_TYPE(self)) {
        PyErr_SetString(PyExc_TypeError, "the other side is a Stream too");
        return NULL;
    }
    const uint8_t *bytes = (const uint8_t *)data;
    hnt_stream_observe(&((Stream *)self)->stream, hnt_classify(bytes, (size_t)length), bytes, (size_t)length, now,
                       &((Stream *)other)->stream);
    Py_RETURN_NONE;
}

static PyObject *stream_quality(PyObject *self, PyObject *unused)
{
    struct hnt_quality quality = hnt_stream_quality(&((Stream *)self)->stream);
    (void)unused;
    return hnt_write_quality(&quality);
}

static PyMethodDef stream_methods[] = {
    {"observe", stream_observe, METH_VARARGS, "observe(datagram, now, other)"},
    {"quality", stream_quality, METH_NOARGS, "quality() -> tuple"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot stream_slots[] = {
    {Py_tp_new, stream_new},
    {Py_tp_dealloc, plain_dealloc},
    {Py_tp_methods, stream_methods},
    {0, NULL},
};

static PyType_Spec stream_spec = {
    "tests.plane._twins.Stream", sizeof(Stream), 0, Py_TPFLAGS_DEFAULT, stream_slots,
};

/* Bucket: relay/policing.py */

typedef struct {
    PyObject_HEAD
    struct hnt_bucket bucket;
    struct hnt_limits limits;
} Bucket;

static PyObject *bucket_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    struct hnt_limits limits = {0};
    (void)kwargs;
    if (!PyArg_ParseTuple(args, "II", &limits.max_kbps, &limits.max_pps))
        return NULL;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Bucket *self = (Bucket *)allocate(type, 0);
    if (self != NULL)
        self->limits = limits;
    return (PyObject *)self;
}

static PyObject *bucket_admits(PyObject *self, PyObject *args)
{
    Bucket *bucket = (Bucket *)self;
    unsigned length;
    double now;
    if (!PyArg_ParseTuple(args, "Id", &length, &now))
        return NULL;
    return PyBool_FromLong(hnt_bucket_admits(&bucket->bucket, &bucket->limits, length, now));
}

static PyMethodDef bucket_methods[] = {
    {"admits", bucket_admits, METH_VARARGS, "admits(length, now) -> bool"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot bucket_slots[] = {
    {Py_tp_new, bucket_new},
    {Py_tp_dealloc, plain_dealloc},
    {Py_tp_methods, bucket_methods},
    {0, NULL},
};

static PyType_Spec bucket_spec = {
    "tests.plane._twins.Bucket", sizeof(Bucket), 0, Py_TPFLAGS_DEFAULT, bucket_slots,
};

/* Functions */

static PyObject *parse_stun(PyObject *module, PyObject *args)
{
    const char *data;
    Py_ssize_t length;
    struct hnt_binding_message message;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#", &data, &length))
        return NULL;
    if (!hnt_stun_parse((const uint8_t *)data, (size_t)length, &message))
        Py_RETURN_NONE;
    return Py_BuildValue("(iy#y#NiiKi)", (int)message.kind, message.transaction, (Py_ssize_t)HNT_TRANSACTION,
                         message.username ? (const char *)message.username : "",
                         (Py_ssize_t)message.username_length, PyBool_FromLong(message.nominates),
                         (int)message.integrity_at, (int)message.role, (unsigned long long)message.tie_breaker,
                         (int)message.error);
}

static PyObject *is_signed(PyObject *module, PyObject *args)
{
    const char *data, *password;
    Py_ssize_t length, password_length;
    struct hnt_binding_message message;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#", &data, &length, &password, &password_length))
        return NULL;
    return PyBool_FromLong(hnt_stun_parse((const uint8_t *)data, (size_t)length, &message) &&
                           hnt_stun_is_signed((const uint8_t *)data, &message, (const uint8_t *)password,
                                              (size_t)password_length));
}

static PyObject *classify(PyObject *module, PyObject *args)
{
    const char *data;
    Py_ssize_t length;
    (void)module;
    if (!PyArg_ParseTuple(args, "y#", &data, &length))
        return NULL;
    struct hnt_header header = hnt_classify((const uint8_t *)data, (size_t)length);
    return Py_BuildValue("(ikHi)", (int)header.kind, (unsigned long)header.ssrc, header.sequence,
                         (int)header.payload_type);
}

static PyObject *idle_since(PyObject *module, PyObject *args)
{
    PyObject *object;
    double now, linger_s, heard_at = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "Odd", &object, &now, &linger_s))
        return NULL;
    if (object != Py_None)
        heard_at = PyFloat_AsDouble(object);
    return PyErr_Occurred() ? NULL : PyFloat_FromDouble(hnt_idle_since(object != Py_None, heard_at, now, linger_s));
}

static PyObject *is_free(PyObject *module, PyObject *args)
{
    double busy_at, released_at, linger_s, cap_s, now;
    (void)module;
    if (!PyArg_ParseTuple(args, "ddddd", &busy_at, &released_at, &linger_s, &cap_s, &now))
        return NULL;
    return PyBool_FromLong(hnt_is_free(busy_at, released_at, linger_s, cap_s, now));
}

static PyObject *filter_line(PyObject *module, PyObject *args)
{
    PyObject *object;
    int socket;
    const char *sources, *refused;
    Py_ssize_t sources_length, refused_length;
    struct hnt_address peer;
    (void)module;
    if (!PyArg_ParseTuple(args, "iOy#y#", &socket, &object, &sources, &sources_length, &refused, &refused_length) ||
        hnt_read_address(object, &peer) < 0)
        return NULL;
    struct hnt_evidence *evidence =
        hnt_read_evidence(sources, sources_length, refused, refused_length, 1, false, NULL, NULL, 0);
    if (evidence == NULL)
        return NULL;
    int failed = hnt_line_filter(socket, &peer, evidence->sources > 0 ? evidence : NULL);
    free(evidence);
    if (failed)
        return PyErr_SetFromErrno(PyExc_OSError);
    Py_RETURN_NONE;
}

static PyObject *hmac_sha1(PyObject *module, PyObject *args)
{
    const char *key, *data;
    Py_ssize_t key_length, length;
    uint8_t digest[HNT_SHA1_SIZE];
    (void)module;
    if (!PyArg_ParseTuple(args, "y#y#", &key, &key_length, &data, &length))
        return NULL;
    const struct hnt_piece halves[] = {{(const uint8_t *)data, (size_t)length / 2},
                                       {(const uint8_t *)data + length / 2, (size_t)(length - length / 2)}};
    hnt_hmac_sha1((const uint8_t *)key, (size_t)key_length, halves, 2, digest);
    return PyBytes_FromStringAndSize((const char *)digest, sizeof digest);
}

static PyObject *borrow_sha1(PyObject *module, PyObject *args)
{
    int borrowed;
    (void)module;
    if (!PyArg_ParseTuple(args, "p", &borrowed))
        return NULL;
    return PyBool_FromLong(hnt_sha1_choose(borrowed));
}

PyMethodDef hnt_rule_functions[] = {
    {"hmac_sha1", hmac_sha1, METH_VARARGS, "hmac_sha1(key, data) -> digest"},
    {"borrow_sha1", borrow_sha1, METH_VARARGS, "borrow_sha1(borrowed) -> whether libcrypto makes digests now"},
    {"idle_since", idle_since, METH_VARARGS, "idle_since(heard_at, now, linger_s) -> float"},
    {"is_free", is_free, METH_VARARGS, "is_free(busy_at, released_at, linger_s, cap_s, now) -> bool"},
    {"filter_line", filter_line, METH_VARARGS, "filter_line(socket, peer, sources, refused)"},
    {"classify", classify, METH_VARARGS, "classify(datagram) -> (kind, ssrc, sequence, payload type)"},
    {"parse_stun", parse_stun, METH_VARARGS,
     "parse_stun(datagram) -> (kind, transaction, username, nominates, integrity_at, role, tie_breaker, error) or None"},
    {"is_signed", is_signed, METH_VARARGS, "is_signed(datagram, password) -> bool"},
    {NULL, NULL, 0, NULL},
};

/* Bars: relay/barring.py */

typedef struct {
    PyObject_HEAD
    struct hnt_bars bars;
} Bars;

static PyObject *bars_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Bars *self = (Bars *)allocate(type, 0);
    if (self != NULL)
        hnt_bars_init(&self->bars);
    return (PyObject *)self;
}

static void bars_dealloc(PyObject *self)
{
    hnt_bars_clear(&((Bars *)self)->bars);
    plain_dealloc(self);
}

static PyObject *bars_ask(PyObject *self, PyObject *args,
                          bool (*ask)(struct hnt_bars *, const struct hnt_address *, double))
{
    PyObject *object;
    double now;
    struct hnt_address source;
    if (!PyArg_ParseTuple(args, "Od", &object, &now) || hnt_read_address(object, &source) < 0)
        return NULL;
    return PyBool_FromLong(ask(&((Bars *)self)->bars, &source, now));
}

static PyObject *bars_note(PyObject *self, PyObject *args)
{
    return bars_ask(self, args, hnt_bars_note);
}

static PyObject *bars_has(PyObject *self, PyObject *args)
{
    return bars_ask(self, args, hnt_bars_has);
}

static PyMethodDef bars_methods[] = {
    {"note", bars_note, METH_VARARGS, "note(source, now) -> bool"},
    {"has", bars_has, METH_VARARGS, "has(source, now) -> bool"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot bars_slots[] = {
    {Py_tp_new, bars_new},
    {Py_tp_dealloc, bars_dealloc},
    {Py_tp_methods, bars_methods},
    {0, NULL},
};

static PyType_Spec bars_spec = {
    "tests.plane._twins.Bars", sizeof(Bars), 0, Py_TPFLAGS_DEFAULT, bars_slots,
};

int hnt_add_rules(PyObject *module)
{
    bool failed = hnt_add_type(module, &agent_spec) < 0 || hnt_add_type(module, &stream_spec) < 0 ||
                  hnt_add_type(module, &bucket_spec) < 0 || hnt_add_type(module, &bars_spec) < 0;
    return failed ? -1 : 0;
}
