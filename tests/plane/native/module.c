/* The module `tests.plane._twins`: the rules of the native engine as Python sees them, built by scripts/twins. */
#include "twins.h"

struct hnt_evidence *hnt_read_evidence(const char *sources, Py_ssize_t sources_length, const char *refused,
                                          Py_ssize_t refused_length, unsigned char probation, bool several,
                                          PyObject *keys, const char *tags, Py_ssize_t tags_length)
{
    return hnt_read_evidence_of((struct hnt_records){sources, sources_length},
                                (struct hnt_records){refused, refused_length}, (struct hnt_records){NULL, 0},
                                probation, several, keys, (struct hnt_records){tags, tags_length});
}

static int execute(PyObject *module)
{
    return hnt_add_latches(module) < 0 || hnt_add_rules(module) < 0 ? -1 : 0;
}

static PyModuleDef_Slot slots[] = {{Py_mod_exec, execute}, {0, NULL}};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_twins", "The rules of the native engine, alone.", 0, hnt_rule_functions, slots, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__twins(void)
{
    return PyModuleDef_Init(&definition);
}
