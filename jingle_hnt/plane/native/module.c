/* The engine as a Python type. Addresses are bytes: the IP address (4 or 16) and the port (2, big endian).
 * Networks are records of 18 bytes: version, prefix, and the IP address padded to 16. */
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "engine.h"

enum { NETWORK_RECORD = 18, MAX_NETWORKS = 4096, EVENTS_AT_ONCE = 256 };

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

static struct hnt_evidence *read_evidence(const char *sources, Py_ssize_t sources_length, const char *refused,
                                          Py_ssize_t refused_length, unsigned char probation)
{
    if (sources_length % NETWORK_RECORD || refused_length % NETWORK_RECORD ||
        sources_length + refused_length > MAX_NETWORKS * NETWORK_RECORD) {
        PyErr_Format(PyExc_ValueError, "networks are records of %d bytes, at most %d of them",
                     (int)NETWORK_RECORD, (int)MAX_NETWORKS);
        return NULL;
    }
    uint16_t wanted = (uint16_t)(sources_length / NETWORK_RECORD);
    uint16_t unwanted = (uint16_t)(refused_length / NETWORK_RECORD);
    struct hnt_evidence *evidence =
        malloc(sizeof *evidence + (size_t)(wanted + unwanted) * sizeof evidence->networks[0]);
    if (evidence == NULL)
        return (struct hnt_evidence *)(void *)PyErr_NoMemory();
    evidence->sources = wanted;
    evidence->refused = unwanted;
    evidence->probation = probation;
    if (read_networks(sources, sources_length, evidence->networks) < 0 ||
        read_networks(refused, refused_length, evidence->networks + wanted) < 0) {
        free(evidence);
        return NULL;
    }
    return evidence;
}

static PyObject *write_view(const struct hnt_view *view)
{
    PyObject *counters = PyTuple_New(HNT_COUNTERS);
    if (counters == NULL)
        return NULL;
    for (int i = 0; i < HNT_COUNTERS; i++)
        PyTuple_SetItem(counters, i, PyLong_FromUnsignedLongLong(view->counters[i]));
    return Py_BuildValue("(NiiNddiN)", write_address(&view->bound), (int)view->state, (int)view->generation,
                         write_address(&view->learned), view->latched_s, view->heard_s, (int)view->flow,
                         counters);
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
    static char *names[] = {"workers", NULL};
    unsigned workers = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|I", names, &workers))
        return NULL;
    if (workers < 1 || workers > 64) {
        PyErr_SetString(PyExc_ValueError, "workers must be between 1 and 64");
        return NULL;
    }
    allocfunc allocate = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Engine *self = (Engine *)allocate(type, 0);
    if (self == NULL)
        return NULL;
    self->engine = hnt_engine_new(workers);
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
    PyObject *resume, *early;
    struct hnt_address source, destination;
    if (engine == NULL ||
        !PyArg_ParseTuple(args, "KIiy#y#bOO", &handle, &side, &generation, &sources, &sources_length, &refused,
                          &refused_length, &probation, &resume, &early))
        return NULL;
    if (side > 1) {
        PyErr_SetString(PyExc_ValueError, "a side is 0 or 1");
        return NULL;
    }
    if ((resume != Py_None && read_address(resume, &source) < 0) ||
        (early != Py_None && read_address(early, &destination) < 0))
        return NULL;
    struct hnt_evidence *evidence = read_evidence(sources, sources_length, refused, refused_length, probation);
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
    {"arm", engine_arm, METH_VARARGS, "arm(handle, side, generation, sources, refused, probation, resume, early)"},
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
    if (!PyArg_ParseTuple(args, "iy#y#b", &generation, &sources, &sources_length, &refused, &refused_length,
                          &probation))
        return NULL;
    struct hnt_evidence *evidence = read_evidence(sources, sources_length, refused, refused_length, probation);
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
    {"arm", latch_arm, METH_VARARGS, "arm(generation, sources, refused, probation) -> bool"},
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

/* Module */

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
    return add_type(module, &engine_spec) < 0 || add_type(module, &latch_spec) < 0 ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_engine", "The native forwarding plane.", 0, functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__engine(void)
{
    return PyModuleDef_Init(&definition);
}
