/* The module `tests.plane._twins`: the rules of the native engine as Python sees them, built by scripts/twins. */
#include "twins.h"

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
