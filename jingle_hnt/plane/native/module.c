/* The engine as a Python type. Addresses are bytes: the IP address (4 or 16) and the port (2, big endian).
 * Networks are records of 18 bytes: version, prefix, and the IP address padded to 16. Tags are records of 43
 * bytes: the keys for RTP and RTCP, the length of a tag, and that of an MKI (2, big endian). */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"
#include "ice.h"
#include "srtp.h"

enum {
    NETWORK_RECORD = 18,
    TAG_RECORD = 2 * HNT_TAG_KEY + 3,
    MAX_NETWORKS = 4096,
    MAX_KEYS = 4,
    MAX_TAGS = 16,
    EVENTS_AT_ONCE = 256,
};

/* Values */

static int read_address(PyObject *object, struct hnt_address *out)
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

static PyObject *write_address(const struct hnt_address *address)
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

static int read_networks(const char *bytes, Py_ssize_t length, struct hnt_network *out)
{
    for (Py_ssize_t at = 0; at < length; at += NETWORK_RECORD, out++) {
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

/* `keys` is a list of pairs, at most MAX_KEYS of them. */
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
    }
    return 0;
}

static struct hnt_evidence *read_evidence(const char *sources, Py_ssize_t sources_length, const char *refused,
                                          Py_ssize_t refused_length, unsigned char probation, bool several,
                                          PyObject *keys, const char *tags, Py_ssize_t tags_length)
{
    Py_ssize_t key_count = keys == NULL ? 0 : PyList_Size(keys);
    if (key_count < 0)
        return NULL;
    if (key_count > MAX_KEYS) {
        PyErr_Format(PyExc_ValueError, "evidence has at most %d keys", (int)MAX_KEYS);
        return NULL;
    }
    if (sources_length % NETWORK_RECORD || refused_length % NETWORK_RECORD ||
        sources_length + refused_length > MAX_NETWORKS * NETWORK_RECORD) {
        PyErr_Format(PyExc_ValueError, "networks are records of %d bytes, at most %d of them",
                     (int)NETWORK_RECORD, (int)MAX_NETWORKS);
        return NULL;
    }
    if (tags_length % TAG_RECORD || tags_length > MAX_TAGS * TAG_RECORD) {
        PyErr_Format(PyExc_ValueError, "tags are records of %d bytes, at most %d of them", (int)TAG_RECORD,
                     (int)MAX_TAGS);
        return NULL;
    }
    uint16_t wanted = (uint16_t)(sources_length / NETWORK_RECORD);
    uint16_t unwanted = (uint16_t)(refused_length / NETWORK_RECORD);
    struct hnt_evidence *evidence;
    size_t keys_at = sizeof *evidence + (size_t)(wanted + unwanted) * sizeof evidence->networks[0];
    size_t tag_count = (size_t)tags_length / TAG_RECORD, tags_at = keys_at + (size_t)key_count * sizeof *evidence->key;
    evidence = malloc(tags_at + tag_count * sizeof *evidence->tag);
    if (evidence == NULL)
        return (struct hnt_evidence *)(void *)PyErr_NoMemory();
    evidence->keys = (uint8_t)key_count;
    evidence->key = (struct hnt_key *)(void *)((char *)evidence + keys_at); /* of even alignment, as all are */
    evidence->tags = (uint8_t)tag_count;
    evidence->tag = (struct hnt_tag *)(void *)((char *)evidence + tags_at);
    evidence->sources = wanted;
    evidence->refused = unwanted;
    evidence->probation = probation;
    evidence->several = several;
    if (read_networks(sources, sources_length, evidence->networks) < 0 ||
        read_networks(refused, refused_length, evidence->networks + wanted) < 0 ||
        read_keys(keys, key_count, evidence->key) < 0 || read_tags(tags, tags_length, evidence->tag) < 0) {
        free(evidence);
        return NULL;
    }
    return evidence;
}

static PyObject *write_quality(const struct hnt_quality *quality)
{
    return Py_BuildValue("(LLLLLdd)", (long long)quality->ssrc, (long long)quality->packets,
                         (long long)quality->lost, (long long)quality->reordered,
                         (long long)quality->duplicates, quality->jitter_ms, quality->round_trip_ms);
}

static PyObject *write_view(const struct hnt_view *view)
{
    PyObject *counters = PyTuple_New(HNT_COUNTERS);
    if (counters == NULL)
        return NULL;
    for (int i = 0; i < HNT_COUNTERS; i++)
        PyTuple_SetItem(counters, i, PyLong_FromUnsignedLongLong(view->counters[i]));
    return Py_BuildValue("(NiiNddiNN)", write_address(&view->bound), (int)view->state, (int)view->generation,
                         write_address(&view->learned), view->latched_s, view->heard_s, (int)view->flow,
                         counters, write_quality(&view->quality));
}

static PyObject *os_error(int error, unsigned failed)
{
    PyObject *arguments = Py_BuildValue("(isI)", error, strerror(error), failed);
    if (arguments != NULL)
        PyErr_SetObject(PyExc_OSError, arguments);
    Py_XDECREF(arguments);
    return NULL;
}

/* Engine */

typedef struct {
    PyObject_HEAD
    struct hnt_engine *engine;
} Engine;

static struct hnt_engine *open_engine(PyObject *self)
{
    struct hnt_engine *engine = ((Engine *)self)->engine;
    if (engine == NULL)
        PyErr_SetString(PyExc_ValueError, "the engine is closed");
    return engine;
}

static PyObject *engine_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
    static char *names[] = {"workers", "max_kbps", "max_pps", "dscp", NULL};
    unsigned workers = 1;
    struct hnt_limits limits = {0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|IIIb", names, &workers, &limits.max_kbps, &limits.max_pps,
                                     &limits.dscp))
        return NULL;
    if (workers < 1 || workers > 64) {
        PyErr_SetString(PyExc_ValueError, "workers must be between 1 and 64");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Engine *self = (Engine *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->engine = hnt_engine_new(workers, limits);
    if (self->engine == NULL) {
        Py_DECREF(self);
        return PyErr_SetFromErrno(PyExc_OSError);
    }
    return (PyObject *)self;
}

static void close_engine(Engine *self)
{
    struct hnt_engine *engine = self->engine;
    self->engine = NULL;
    if (engine == NULL)
        return;
    Py_BEGIN_ALLOW_THREADS
    hnt_engine_free(engine);
    Py_END_ALLOW_THREADS
}

static void engine_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    close_engine((Engine *)self);
    release(self);
    Py_DECREF(type);
}

static PyObject *engine_close(PyObject *self, PyObject *unused)
{
    (void)unused;
    close_engine((Engine *)self);
    Py_RETURN_NONE;
}

static PyObject *write_handles(const uint64_t *handles, Py_ssize_t count)
{
    PyObject *list = PyList_New(count);
    for (Py_ssize_t i = 0; list != NULL && i < count; i++)
        PyList_SetItem(list, i, PyLong_FromUnsignedLongLong(handles[i]));
    return list;
}

static PyObject *engine_bind(PyObject *self, PyObject *addresses)
{
    struct hnt_engine *engine = open_engine(self);
    Py_ssize_t size = engine == NULL ? -1 : PyList_Size(addresses);
    if (size < 0)
        return NULL;
    if (size % 2) {
        PyErr_SetString(PyExc_ValueError, "a binding has two addresses");
        return NULL;
    }
    struct hnt_address *bound = calloc((size_t)size + 1, sizeof *bound);
    uint64_t *handles = calloc((size_t)size / 2 + 1, sizeof *handles);
    PyObject *result = NULL;
    unsigned failed = 0;
    int error = 0;
    if (bound == NULL || handles == NULL) {
        PyErr_NoMemory();
        goto done;
    }
    for (Py_ssize_t i = 0; i < size; i++)
        if (read_address(PyList_GetItem(addresses, i), &bound[i]) < 0)
            goto done;
    Py_BEGIN_ALLOW_THREADS
    error = hnt_engine_bind(engine, bound, (unsigned)(size / 2), handles, &failed);
    Py_END_ALLOW_THREADS
    result = error ? os_error(error, failed) : write_handles(handles, size / 2);
done:
    free(bound);
    free(handles);
    return result;
}

static PyObject *engine_arm(PyObject *self, PyObject *args)
{
    struct hnt_engine *engine = open_engine(self);
    unsigned long long handle;
    unsigned side;
    int generation, error;
    const char *sources, *refused;
    Py_ssize_t sources_length, refused_length;
    unsigned char probation;
    int several;
    PyObject *resume, *early, *keys;
    const char *tags;
    Py_ssize_t tags_length;
    struct hnt_address source, destination;
    if (engine == NULL ||
        !PyArg_ParseTuple(args, "KIiy#y#bpOy#OO", &handle, &side, &generation, &sources, &sources_length,
                          &refused, &refused_length, &probation, &several, &keys, &tags, &tags_length, &resume,
                          &early))
        return NULL;
    if (side > 1) {
        PyErr_SetString(PyExc_ValueError, "a side is 0 or 1");
        return NULL;
    }
    if ((resume != Py_None && read_address(resume, &source) < 0) ||
        (early != Py_None && read_address(early, &destination) < 0))
        return NULL;
    struct hnt_evidence *evidence =
        read_evidence(sources, sources_length, refused, refused_length, probation, several, keys, tags,
                      tags_length);
    if (evidence == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = hnt_engine_arm(engine, handle, side, generation, evidence, resume == Py_None ? NULL : &source,
                           early == Py_None ? NULL : &destination);
    Py_END_ALLOW_THREADS
    return error && error != EALREADY ? os_error(error, 0) : PyBool_FromLong(error == 0);
}

static PyObject *engine_gate(PyObject *self, PyObject *args)
{
    struct hnt_engine *engine = open_engine(self);
    unsigned long long handle;
    uint8_t flows[2];
    int error;
    if (engine == NULL || !PyArg_ParseTuple(args, "Kbb", &handle, &flows[0], &flows[1]))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = hnt_engine_gate(engine, handle, flows);
    Py_END_ALLOW_THREADS
    if (error)
        return os_error(error, 0);
    Py_RETURN_NONE;
}

static PyObject *engine_release(PyObject *self, PyObject *args)
{
    struct hnt_engine *engine = open_engine(self);
    unsigned long long handle;
    double linger_s;
    int error;
    if (engine == NULL || !PyArg_ParseTuple(args, "Kd", &handle, &linger_s))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = hnt_engine_release(engine, handle, linger_s);
    Py_END_ALLOW_THREADS
    if (error)
        return os_error(error, 0);
    Py_RETURN_NONE;
}

static PyObject *engine_view(PyObject *self, PyObject *args)
{
    struct hnt_engine *engine = open_engine(self);
    unsigned long long handle;
    struct hnt_view views[2];
    bool draining = false;
    int error;
    if (engine == NULL || !PyArg_ParseTuple(args, "K", &handle))
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    error = hnt_engine_view(engine, handle, views, &draining);
    Py_END_ALLOW_THREADS
    if (error)
        Py_RETURN_NONE;
    return Py_BuildValue("(NNN)", write_view(&views[0]), write_view(&views[1]), PyBool_FromLong(draining));
}

static PyObject *write_event(const struct hnt_event *event)
{
    PyObject *views = event->views == NULL
                          ? Py_BuildValue("")
                          : Py_BuildValue("(NN)", write_view(&event->views[0]), write_view(&event->views[1]));
    return Py_BuildValue("(iKiiNNdN)", (int)event->kind, (unsigned long long)event->handle, (int)event->side,
                         (int)event->generation, write_address(&event->source),
                         PyBool_FromLong(event->relatched), event->seconds, views);
}

static PyObject *engine_events(PyObject *self, PyObject *unused)
{
    struct hnt_engine *engine = open_engine(self);
    struct hnt_event events[EVENTS_AT_ONCE];
    unsigned count;
    (void)unused;
    if (engine == NULL)
        return NULL;
    Py_BEGIN_ALLOW_THREADS
    count = hnt_engine_events(engine, events, EVENTS_AT_ONCE);
    Py_END_ALLOW_THREADS
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (unsigned i = 0; i < count; i++) {
        PyObject *event = list == NULL ? NULL : write_event(&events[i]);
        free(events[i].views);
        if (list != NULL && event == NULL)
            Py_CLEAR(list);
        else if (list != NULL)
            PyList_SetItem(list, (Py_ssize_t)i, event);
    }
    return list;
}

static PyObject *engine_fileno(PyObject *self, PyObject *unused)
{
    struct hnt_engine *engine = open_engine(self);
    (void)unused;
    return engine == NULL ? NULL : PyLong_FromLong(hnt_engine_fileno(engine));
}

static PyMethodDef engine_methods[] = {
    {"bind", engine_bind, METH_O, "bind(addresses) -> handles"},
    {"arm", engine_arm, METH_VARARGS, "arm(handle, side, generation, sources, refused, probation, several, keys, tags, resume, early)"},
    {"gate", engine_gate, METH_VARARGS, "gate(handle, flow_0, flow_1)"},
    {"release", engine_release, METH_VARARGS, "release(handle, linger_s)"},
    {"view", engine_view, METH_VARARGS, "view(handle) -> (view, view, draining) or None"},
    {"events", engine_events, METH_NOARGS, "events() -> list"},
    {"fileno", engine_fileno, METH_NOARGS, "fileno() -> int"},
    {"close", engine_close, METH_NOARGS, "close()"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot engine_slots[] = {
    {Py_tp_new, engine_new},
    {Py_tp_dealloc, engine_dealloc},
    {Py_tp_methods, engine_methods},
    {0, NULL},
};

static PyType_Spec engine_spec = {
    "jingle_hnt.plane._engine.Engine", sizeof(Engine), 0, Py_TPFLAGS_DEFAULT, engine_slots,
};

/* Latch: the rules alone, for the test that compares them with relay/latch.py */

typedef struct {
    PyObject_HEAD
    struct hnt_latch latch;
} Latch;

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
    const char *sources, *refused;
    Py_ssize_t sources_length, refused_length;
    unsigned char probation;
    int several;
    if (!PyArg_ParseTuple(args, "iy#y#bp", &generation, &sources, &sources_length, &refused, &refused_length,
                          &probation, &several))
        return NULL;
    struct hnt_evidence *evidence =
        read_evidence(sources, sources_length, refused, refused_length, probation, several, NULL, NULL, 0);
    if (evidence == NULL)
        return NULL;
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
    if (!PyArg_ParseTuple(args, "Oy#d", &object, &data, &length, &now) || read_address(object, &source) < 0)
        return NULL;
    struct hnt_header header = hnt_classify((const uint8_t *)data, (size_t)length);
    return PyLong_FromLong((long)hnt_latch_observe(&((Latch *)self)->latch, &source, header, now));
}

static PyMethodDef latch_methods[] = {
    {"arm", latch_arm, METH_VARARGS, "arm(generation, sources, refused, probation, several) -> bool"},
    {"observe", latch_observe, METH_VARARGS, "observe(source, datagram, now) -> verdict"},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot latch_slots[] = {
    {Py_tp_new, latch_new},
    {Py_tp_dealloc, latch_dealloc},
    {Py_tp_methods, latch_methods},
    {0, NULL},
};

static PyType_Spec latch_spec = {
    "jingle_hnt.plane._engine.Latch", sizeof(Latch), 0, Py_TPFLAGS_DEFAULT, latch_slots,
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
    struct hnt_evidence *evidence = read_evidence(sources, sources_length, refused,
                                                  refused_length, 1, true, keys, NULL, 0);
    if (evidence == NULL)
        return NULL;
    if (evidence->keys > 0 && hnt_ice_arm(&((Latch *)self)->latch, generation, evidence))
        Py_RETURN_TRUE;
    free(evidence);
    Py_RETURN_FALSE;
}

static struct hnt_latch *armed_latch(PyObject *self)
{
    struct hnt_latch *latch = &((Latch *)self)->latch;
    if (latch->ice != NULL)
        return latch;
    PyErr_SetString(PyExc_ValueError, "the latch is not armed");
    return NULL;
}

static PyObject *ice_latch_observe(PyObject *self, PyObject *args)
{
    PyObject *object;
    const char *data;
    Py_ssize_t length;
    double now;
    struct hnt_address source;
    struct hnt_latch *latch = armed_latch(self);
    if (latch == NULL || !PyArg_ParseTuple(args, "Oy#d", &object, &data, &length, &now) ||
        read_address(object, &source) < 0)
        return NULL;
    const uint8_t *bytes = (const uint8_t *)data;
    struct hnt_header header = hnt_classify(bytes, (size_t)length);
    return PyLong_FromLong((long)hnt_ice_observe(latch, &source, header, bytes, (size_t)length, now));
}

static PyObject *ice_latch_nominated(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_address source;
    struct hnt_latch *latch = armed_latch(self);
    if (latch == NULL || !PyArg_ParseTuple(args, "Od", &object, &now) || read_address(object, &source) < 0)
        return NULL;
    return PyBool_FromLong(hnt_ice_nominated(latch, &source, now));
}

static PyObject *ice_latch_resume(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_address source;
    struct hnt_latch *latch = armed_latch(self);
    if (latch == NULL || !PyArg_ParseTuple(args, "Od", &object, &now) || read_address(object, &source) < 0)
        return NULL;
    hnt_ice_resume(latch, &source, now);
    Py_RETURN_NONE;
}

static PyObject *write_known(const struct hnt_address *address)
{
    if (address == NULL)
        Py_RETURN_NONE;
    return write_address(address);
}

static PyObject *ice_latch_where_to_ask(PyObject *self, PyObject *argument)
{
    struct hnt_latch *latch = armed_latch(self);
    double now = latch == NULL ? -1 : PyFloat_AsDouble(argument);
    return latch == NULL || PyErr_Occurred() ? NULL : write_known(hnt_ice_where_to_ask(latch, now));
}

static PyObject *ice_latch_asker(PyObject *self, PyObject *argument)
{
    struct hnt_latch *latch = armed_latch(self);
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
    struct hnt_latch *latch = armed_latch(self);
    (void)unused;
    return latch == NULL ? NULL : write_known(latch->state == HNT_LATCHED ? &latch->source : NULL);
}

static PyMethodDef ice_latch_methods[] = {
    {"arm", ice_latch_arm, METH_VARARGS, "arm(generation, sources, refused, keys) -> bool"},
    {"resume", ice_latch_resume, METH_VARARGS, "resume(source, now)"},
    {"observe", ice_latch_observe, METH_VARARGS, "observe(source, datagram, now) -> verdict"},
    {"nominated", ice_latch_nominated, METH_VARARGS, "nominated(source, now) -> bool"},
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
    "jingle_hnt.plane._engine.IceLatch", sizeof(Latch), 0, Py_TPFLAGS_DEFAULT, ice_latch_slots,
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
    struct hnt_evidence *evidence = read_evidence(sources, sources_length, refused, refused_length, 1, false, NULL,
                                                  tags, tags_length);
    if (evidence == NULL)
        return NULL;
    if (evidence->tags > 0 && hnt_srtp_arm(&((Latch *)self)->latch, generation, evidence))
        Py_RETURN_TRUE;
    free(evidence);
    Py_RETURN_FALSE;
}

static struct hnt_latch *tagged_latch(PyObject *self)
{
    struct hnt_latch *latch = &((Latch *)self)->latch;
    if (latch->srtp != NULL)
        return latch;
    PyErr_SetString(PyExc_ValueError, "the latch is not armed");
    return NULL;
}

static PyObject *srtp_latch_observe(PyObject *self, PyObject *args)
{
    PyObject *object;
    const char *data;
    Py_ssize_t length;
    double now;
    struct hnt_address source;
    struct hnt_latch *latch = tagged_latch(self);
    if (latch == NULL || !PyArg_ParseTuple(args, "Oy#d", &object, &data, &length, &now) ||
        read_address(object, &source) < 0)
        return NULL;
    const uint8_t *bytes = (const uint8_t *)data;
    struct hnt_header header = hnt_classify(bytes, (size_t)length);
    return PyLong_FromLong((long)hnt_srtp_observe(latch, &source, header, bytes, (size_t)length, now));
}

static PyObject *srtp_latch_resume(PyObject *self, PyObject *args)
{
    PyObject *object;
    double now;
    struct hnt_address source;
    struct hnt_latch *latch = tagged_latch(self);
    if (latch == NULL || !PyArg_ParseTuple(args, "Od", &object, &now) || read_address(object, &source) < 0)
        return NULL;
    hnt_srtp_resume(latch, &source, now);
    Py_RETURN_NONE;
}

static PyObject *srtp_latch_source(PyObject *self, PyObject *unused)
{
    struct hnt_latch *latch = tagged_latch(self);
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
    "jingle_hnt.plane._engine.SrtpLatch", sizeof(Latch), 0, Py_TPFLAGS_DEFAULT, srtp_latch_slots,
};

/* Stream: the same for relay/quality.py */

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

static void plain_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
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
    return write_quality(&quality);
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
    "jingle_hnt.plane._engine.Stream", sizeof(Stream), 0, Py_TPFLAGS_DEFAULT, stream_slots,
};

/* Bucket: the same for relay/policing.py */

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
    "jingle_hnt.plane._engine.Bucket", sizeof(Bucket), 0, Py_TPFLAGS_DEFAULT, bucket_slots,
};

/* Module */

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
    return Py_BuildValue("(iy#y#Ni)", (int)message.kind, message.transaction, (Py_ssize_t)HNT_TRANSACTION,
                         message.username ? (const char *)message.username : "",
                         (Py_ssize_t)message.username_length, PyBool_FromLong(message.nominates),
                         (int)message.integrity_at);
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
    return Py_BuildValue("(ikH)", (int)header.kind, (unsigned long)header.ssrc, header.sequence);
}

static PyMethodDef functions[] = {
    {"classify", classify, METH_VARARGS, "classify(datagram) -> (kind, ssrc, sequence)"},
    {"parse_stun", parse_stun, METH_VARARGS,
     "parse_stun(datagram) -> (kind, transaction, username, nominates, integrity_at) or None"},
    {"is_signed", is_signed, METH_VARARGS, "is_signed(datagram, password) -> bool"},
    {NULL, NULL, 0, NULL},
};

static int add_type(PyObject *module, PyType_Spec *spec)
{
    PyObject *type = PyType_FromModuleAndSpec(module, spec, NULL);
    int added = type == NULL ? -1 : PyModule_AddType(module, (PyTypeObject *)type);
    Py_XDECREF(type);
    return added;
}

static int execute(PyObject *module)
{
    bool failed = add_type(module, &engine_spec) < 0 || add_type(module, &latch_spec) < 0 ||
                  add_type(module, &ice_latch_spec) < 0 || add_type(module, &srtp_latch_spec) < 0 ||
                  add_type(module, &stream_spec) < 0 ||
                  add_type(module, &bucket_spec) < 0;
    return failed ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_engine", "The native forwarding plane.", 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__engine(void)
{
    return PyModuleDef_Init(&definition);
}
