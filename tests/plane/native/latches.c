/* Latch, IceLatch and SrtpLatch: relay/latch.py, ice_latch.py and srtp_latch.py. */
#include "twins.h"

#include <stdlib.h>

#include "rules/ice.h"
#include "rules/srtp.h"

/* Latch */

typedef struct {
    PyObject_HEAD
    struct hnt_latch latch;
} Latch;

static PyObject *write_known(const struct hnt_address *address)
{
    if (address == NULL)
        Py_RETURN_NONE;
    return hnt_write_address(address);
}

static PyObject *latch_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    (void)args, (void)kwargs;
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Latch *self = (Latch *)allocate(type, 0);
    if (self != NULL)
        hnt_latch_init(&self->latch);
    return (PyObject *)self;
}

static void latch_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    hnt_latch_clear(&((Latch *)self)->latch);
    release(self);
    Py_DECREF(type);
}

static PyObject *latch_arm(PyObject *self, PyObject *args)
{
    int generation;
    struct hnt_records sources, refused, likely = {NULL, 0}, events = {NULL, 0};
    unsigned char probation;
    int several, reports = false;
    double lapse_s = HNT_LAPSE_S;
    if (!PyArg_ParseTuple(args, "iy#y#bp|y#pdy#", &generation, &sources.bytes, &sources.length, &refused.bytes,
                          &refused.length, &probation, &several, &likely.bytes, &likely.length, &reports, &lapse_s,
                          &events.bytes, &events.length))
        return NULL;
    struct hnt_evidence *evidence =
        hnt_read_evidence_of(sources, refused, likely, probation, several, NULL, (struct hnt_records){NULL, 0});
    if (evidence == NULL)
        return NULL;
    evidence->reports = reports;
    evidence->lapse_s = lapse_s;
    hnt_read_events(events, evidence->events);
    if (hnt_latch_arm(&((Latch *)self)->latch, generation, evidence))
        Py_RETURN_TRUE;
    free(evidence);
    Py_RETURN_FALSE;
}

static PyObject *latch_observe(PyObject *self, PyObject *args)
{
    PyObject *object;
    const char *data;
    Py_ssize_t length;
    double now;
    struct hnt_address source;
    if (!PyArg_ParseTuple(args, "Oy#d", &object, &data, &length, &now) || hnt_read_address(object, &source) < 0)
        return NULL;
    struct hnt_header header = hnt_classify((const uint8_t *)data, (size_t)length);
    return PyLong_FromLong((long)hnt_latch_observe(&((Latch *)self)->latch, &source, header, now));
}

static PyObject *latch_resume(PyObject *self, PyObject *args)
{
    PyObject *object, *last;
    double now;
    struct hnt_address source;
    struct hnt_header stream;
    struct hnt_latch *latch = &((Latch *)self)->latch;
    if (!PyArg_ParseTuple(args, "OOd", &object, &last, &now) || hnt_read_address(object, &source) < 0)
        return NULL;
    int known = hnt_read_stream(last, &stream);
    if (known < 0)
        return NULL;
    if (latch->evidence == NULL) {
        PyErr_SetString(PyExc_ValueError, "the latch is not armed");
        return NULL;
    }
    hnt_latch_resume(latch, &source, known ? &stream : NULL, now);
    Py_RETURN_NONE;
}

static PyObject *latch_expect(PyObject *self, PyObject *argument)
{
    int expects = PyObject_IsTrue(argument);
    if (expects < 0)
        return NULL;
    hnt_latch_expect(&((Latch *)self)->latch, expects);
    Py_RETURN_NONE;
}

static PyObject *latch_source(PyObject *self, PyObject *unused)
{
    const struct hnt_latch *latch = &((Latch *)self)->latch;
    (void)unused;
    return write_known(latch->state == HNT_LATCHED ? &latch->source : NULL);
}

static PyObject *latch_stream(PyObject *self, PyObject *unused)
{
    struct hnt_header stream;
    (void)unused;
    if (!hnt_latch_stream(&((Latch *)self)->latch, &stream))
        Py_RETURN_NONE;
    return Py_BuildValue("(Ii)", stream.ssrc, (int)stream.sequence);
}

static PyObject *latch_news_of_stream(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_header stream;
    if (!PyArg_ParseTuple(args, "Od", &object, &now))
        return NULL;
    uint32_t told = object == Py_None ? 0 : (uint32_t)PyLong_AsUnsignedLong(object);
    if (PyErr_Occurred() != NULL)
        return NULL;
    if (!hnt_latch_stream_news(&((Latch *)self)->latch, object == Py_None ? NULL : &told, now, &stream))
        Py_RETURN_NONE;
    return Py_BuildValue("(Ii)", stream.ssrc, (int)stream.sequence);
}

static PyMethodDef latch_methods[] = {
    {"arm", latch_arm, METH_VARARGS,
     "arm(generation, sources, refused, probation, several, likely=b'', reports=False, lapse_s=3.0, events=b'') -> bool"},
    {"resume", latch_resume, METH_VARARGS, "resume(source, stream or None, now)"},
    {"observe", latch_observe, METH_VARARGS, "observe(source, datagram, now) -> verdict"},
    {"expect", latch_expect, METH_O, "expect(whether media is expected)"},
    {"source", latch_source, METH_NOARGS, "source() -> address or None"},
    {"news_of_stream", latch_news_of_stream, METH_VARARGS, "news_of_stream(told or None, now) -> the same"},
    {"stream", latch_stream, METH_NOARGS, "stream() -> (ssrc, sequence) or None"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot latch_slots[] = {
    {Py_tp_new, latch_new},
    {Py_tp_dealloc, latch_dealloc},
    {Py_tp_methods, latch_methods},
    {0, NULL},
};

static PyType_Spec latch_spec = {
    "tests.plane._twins.Latch", sizeof(Latch), 0, Py_TPFLAGS_DEFAULT, latch_slots,
};

/* IceLatch: the same for relay/ice_latch.py */

static PyObject *ice_latch_arm(PyObject *self, PyObject *args)
{
    int generation;
    const char *sources, *refused;
    Py_ssize_t sources_length, refused_length;
    PyObject *keys;
    if (!PyArg_ParseTuple(args, "iy#y#O", &generation, &sources, &sources_length, &refused, &refused_length,
                          &keys))
        return NULL;
    struct hnt_evidence *evidence = hnt_read_evidence(sources, sources_length, refused,
                                                  refused_length, 1, true, keys, NULL, 0);
    if (evidence == NULL)
        return NULL;
    if (evidence->keys > 0 && hnt_ice_arm(&((Latch *)self)->latch, generation, evidence))
        Py_RETURN_TRUE;
    free(evidence);
    Py_RETURN_FALSE;
}

/* NULL with an error where it is not armed yet, by checks or else by tags. */
static struct hnt_latch *armed_latch(PyObject *self, bool checks)
{
    struct hnt_latch *latch = &((Latch *)self)->latch;
    if (checks ? latch->ice != NULL : latch->srtp != NULL)
        return latch;
    PyErr_SetString(PyExc_ValueError, "the latch is not armed");
    return NULL;
}

typedef enum hnt_verdict observe_signed(struct hnt_latch *, const struct hnt_address *, struct hnt_header,
                                        const uint8_t *, size_t, double);

static PyObject *observe_by(observe_signed *observe, struct hnt_latch *latch, PyObject *args)
{
    PyObject *object;
    const char *data;
    Py_ssize_t length;
    double now;
    struct hnt_address source;
    if (latch == NULL || !PyArg_ParseTuple(args, "Oy#d", &object, &data, &length, &now) ||
        hnt_read_address(object, &source) < 0)
        return NULL;
    const uint8_t *bytes = (const uint8_t *)data;
    struct hnt_header header = hnt_classify(bytes, (size_t)length);
    return PyLong_FromLong((long)observe(latch, &source, header, bytes, (size_t)length, now));
}

static PyObject *ice_latch_observe(PyObject *self, PyObject *args)
{
    return observe_by(hnt_ice_observe, armed_latch(self, true), args);
}

static PyObject *ice_latch_nominated(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_address source;
    struct hnt_latch *latch = armed_latch(self, true);
    if (latch == NULL || !PyArg_ParseTuple(args, "Od", &object, &now) || hnt_read_address(object, &source) < 0)
        return NULL;
    return PyBool_FromLong(hnt_ice_nominated(latch, &source, now));
}

static PyObject *ice_latch_resume(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_address source;
    struct hnt_latch *latch = armed_latch(self, true);
    if (latch == NULL || !PyArg_ParseTuple(args, "Od", &object, &now) || hnt_read_address(object, &source) < 0)
        return NULL;
    hnt_ice_resume(latch, &source, now);
    Py_RETURN_NONE;
}

static PyObject *ice_latch_where_to_ask(PyObject *self, PyObject *argument)
{
    struct hnt_latch *latch = armed_latch(self, true);
    double now = latch == NULL ? -1 : PyFloat_AsDouble(argument);
    return latch == NULL || PyErr_Occurred() ? NULL : write_known(hnt_ice_where_to_ask(latch, now));
}

static PyObject *ice_latch_asker(PyObject *self, PyObject *argument)
{
    struct hnt_latch *latch = armed_latch(self, true);
    char *transaction;
    Py_ssize_t length;
    if (latch == NULL || PyBytes_AsStringAndSize(argument, &transaction, &length) < 0)
        return NULL;
    if (length != HNT_TRANSACTION) {
        PyErr_SetString(PyExc_ValueError, "a transaction id has 12 bytes");
        return NULL;
    }
    return write_known(hnt_ice_asker(latch, (const uint8_t *)transaction));
}

static PyObject *ice_latch_source(PyObject *self, PyObject *unused)
{
    struct hnt_latch *latch = armed_latch(self, true);
    (void)unused;
    return latch == NULL ? NULL : write_known(latch->state == HNT_LATCHED ? &latch->source : NULL);
}

static PyObject *ice_latch_vouch(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    int nominates;
    struct hnt_address source;
    struct hnt_latch *latch = armed_latch(self, true);
    if (latch == NULL || !PyArg_ParseTuple(args, "Opd", &object, &nominates, &now) ||
        hnt_read_address(object, &source) < 0)
        return NULL;
    return PyLong_FromLong((long)hnt_ice_vouch(latch, &source, nominates, now));
}

static PyObject *ice_latch_lose(PyObject *self, PyObject *unused)
{
    struct hnt_latch *latch = armed_latch(self, true);
    (void)unused;
    if (latch == NULL)
        return NULL;
    hnt_ice_lose(latch);
    Py_RETURN_NONE;
}

static PyMethodDef ice_latch_methods[] = {
    {"arm", ice_latch_arm, METH_VARARGS, "arm(generation, sources, refused, keys) -> bool"},
    {"resume", ice_latch_resume, METH_VARARGS, "resume(source, now)"},
    {"observe", ice_latch_observe, METH_VARARGS, "observe(source, datagram, now) -> verdict"},
    {"nominated", ice_latch_nominated, METH_VARARGS, "nominated(source, now) -> bool"},
    {"vouch", ice_latch_vouch, METH_VARARGS, "vouch(source, nominates, now) -> verdict"},
    {"lose", ice_latch_lose, METH_NOARGS, "lose()"},
    {"where_to_ask", ice_latch_where_to_ask, METH_O, "where_to_ask(now) -> address or None"},
    {"asker", ice_latch_asker, METH_O, "asker(transaction) -> address or None"},
    {"source", ice_latch_source, METH_NOARGS, "source() -> address or None"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot ice_latch_slots[] = {
    {Py_tp_new, latch_new},
    {Py_tp_dealloc, latch_dealloc},
    {Py_tp_methods, ice_latch_methods},
    {0, NULL},
};

static PyType_Spec ice_latch_spec = {
    "tests.plane._twins.IceLatch", sizeof(Latch), 0, Py_TPFLAGS_DEFAULT, ice_latch_slots,
};

/* SrtpLatch: the same for relay/srtp_latch.py */

static PyObject *srtp_latch_arm(PyObject *self, PyObject *args)
{
    int generation;
    const char *sources, *refused, *tags;
    Py_ssize_t sources_length, refused_length, tags_length;
    if (!PyArg_ParseTuple(args, "iy#y#y#", &generation, &sources, &sources_length, &refused, &refused_length, &tags,
                          &tags_length))
        return NULL;
    struct hnt_evidence *evidence = hnt_read_evidence(sources, sources_length, refused, refused_length, 1, false, NULL,
                                                  tags, tags_length);
    if (evidence == NULL)
        return NULL;
    if (evidence->tags > 0 && hnt_srtp_arm(&((Latch *)self)->latch, generation, evidence))
        Py_RETURN_TRUE;
    free(evidence);
    Py_RETURN_FALSE;
}

static PyObject *srtp_latch_observe(PyObject *self, PyObject *args)
{
    return observe_by(hnt_srtp_observe, armed_latch(self, false), args);
}

static PyObject *srtp_latch_resume(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_address source;
    struct hnt_latch *latch = armed_latch(self, false);
    if (latch == NULL || !PyArg_ParseTuple(args, "Od", &object, &now) || hnt_read_address(object, &source) < 0)
        return NULL;
    hnt_srtp_resume(latch, &source, now);
    Py_RETURN_NONE;
}

static PyObject *srtp_latch_source(PyObject *self, PyObject *unused)
{
    struct hnt_latch *latch = armed_latch(self, false);
    (void)unused;
    return latch == NULL ? NULL : write_known(latch->state == HNT_LATCHED ? &latch->source : NULL);
}

static PyMethodDef srtp_latch_methods[] = {
    {"arm", srtp_latch_arm, METH_VARARGS, "arm(generation, sources, refused, tags) -> bool"},
    {"resume", srtp_latch_resume, METH_VARARGS, "resume(source, now)"},
    {"observe", srtp_latch_observe, METH_VARARGS, "observe(source, datagram, now) -> verdict"},
    {"source", srtp_latch_source, METH_NOARGS, "source() -> address or None"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot srtp_latch_slots[] = {
    {Py_tp_new, latch_new},
    {Py_tp_dealloc, latch_dealloc},
    {Py_tp_methods, srtp_latch_methods},
    {0, NULL},
};

static PyType_Spec srtp_latch_spec = {
    "tests.plane._twins.SrtpLatch", sizeof(Latch), 0, Py_TPFLAGS_DEFAULT, srtp_latch_slots,
};

int hnt_add_latches(PyObject *module)
{
    bool failed = hnt_add_type(module, &latch_spec) < 0 || hnt_add_type(module, &ice_latch_spec) < 0 ||
                  hnt_add_type(module, &srtp_latch_spec) < 0;
    return failed ? -1 : 0;
}
