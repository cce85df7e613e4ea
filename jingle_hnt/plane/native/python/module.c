/* The engine as a Python type, and the module around it; see values.h for what goes in and out. */
#include "python/values.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

enum { EVENTS_AT_ONCE = 256 };

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
    static char *names[] = {"workers", "max_kbps", "max_pps", "dscp", "linger_cap_s", NULL};
    unsigned workers = 1;
    struct hnt_limits limits = {.linger_cap_s = 600.0};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|IIIbd", names, &workers, &limits.max_kbps, &limits.max_pps,
                                     &limits.dscp, &limits.linger_cap_s))
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
        if (hnt_read_address(PyList_GetItem(addresses, i), &bound[i]) < 0)
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
    PyObject *object;
    struct hnt_arm_record record;
    struct hnt_checks checks;
    if (engine == NULL || !PyArg_ParseTuple(args, "KO!", &handle, &PyDict_Type, &object) ||
        hnt_read_arm(object, &record) < 0)
        return NULL;
    bool has_checks = record.checks != Py_None;
    if (has_checks && hnt_read_checks(record.checks, &checks) < 0)
        return NULL;
    if (has_checks && PyList_Size(record.keys) < 1) {
        PyErr_SetString(PyExc_ValueError, "checks belong to evidence with keys");
        return NULL;
    }
    struct hnt_arm order = {
        .side = (unsigned)record.side,
        .generation = (int32_t)record.generation,
        .evidence = hnt_read_evidence_of(record.sources, record.refused, record.likely,
                                         (unsigned char)record.probation, record.several, record.keys, record.tags),
        .resume = record.resume.is_there ? &record.resume.address : NULL,
        .early = record.early.is_there ? &record.early.address : NULL,
        .stream = record.stream.is_there ? &record.stream.stream : NULL,
        .checks = has_checks ? &checks : NULL,
    };
    if (order.evidence == NULL)
        return NULL;
    order.evidence->reports = record.reports;
    order.evidence->lapse_s = record.lapse_s;
    hnt_read_events(record.events, order.evidence->events);
    int error;
    Py_BEGIN_ALLOW_THREADS
    error = hnt_engine_arm(engine, handle, &order);
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
    return Py_BuildValue("(NN)", hnt_write_pinholes(views), PyBool_FromLong(draining));
}

static PyObject *engine_sockets(PyObject *self, PyObject *args)
{
    struct hnt_engine *engine = open_engine(self);
    unsigned long long handle;
    int sockets[4];
    if (engine == NULL || !PyArg_ParseTuple(args, "K", &handle))
        return NULL;
    unsigned count = hnt_engine_sockets(engine, handle, sockets);
    PyObject *list = PyList_New((Py_ssize_t)count);
    for (unsigned i = 0; list != NULL && i < count; i++)
        PyList_SetItem(list, (Py_ssize_t)i, PyLong_FromLong(sockets[i]));
    return list;
}

static PyObject *engine_inherit(PyObject *self, PyObject *args)
{
    struct hnt_engine *engine = open_engine(self);
    int socket;
    if (engine == NULL || !PyArg_ParseTuple(args, "i", &socket))
        return NULL;
    hnt_engine_inherit(engine, socket);
    Py_RETURN_NONE;
}

static PyObject *engine_disown(PyObject *self, PyObject *unused)
{
    struct hnt_engine *engine = open_engine(self);
    (void)unused;
    if (engine == NULL)
        return NULL;
    hnt_engine_disown(engine);
    Py_RETURN_NONE;
}

static PyObject *write_event(const struct hnt_event *record)
{
    PyObject *values[] = {HNT_EVENT_FIELDS(HNT_PUT)};
    return Py_BuildValue("(iKN)", (int)record->kind, (unsigned long long)record->handle,
                         hnt_tuple(values, sizeof values / sizeof values[0]));
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
        free(events[i].pinholes);
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
    {"arm", engine_arm, METH_VARARGS,
     "arm(handle, record) -> whether it was armed"},
    {"gate", engine_gate, METH_VARARGS, "gate(handle, flow_0, flow_1)"},
    {"release", engine_release, METH_VARARGS, "release(handle, linger_s)"},
    {"view", engine_view, METH_VARARGS, "view(handle) -> ((view, view), draining) or None"},
    {"events", engine_events, METH_NOARGS, "events() -> list"},
    {"fileno", engine_fileno, METH_NOARGS, "fileno() -> int"},
    {"sockets", engine_sockets, METH_VARARGS, "sockets(handle) -> descriptors, the caller's"},
    {"inherit", engine_inherit, METH_VARARGS, "inherit(descriptor)"},
    {"disown", engine_disown, METH_NOARGS, "disown()"},
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

/* Module */

static int execute(PyObject *module)
{
    int told = PyModule_AddStringConstant(module, "RECORDS", HNT_RECORDS);
    return told < 0 ? told : hnt_add_type(module, &engine_spec);
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_engine", "The native forwarding plane.", 0, NULL, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__engine(void)
{
    return PyModuleDef_Init(&definition);
}
