# The C form, as an inline function for whoever cimports it; see _begins.py for what it does.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.string cimport memcmp


cpdef inline bint begins(const unsigned char *data, bytes known) noexcept:
    return memcmp(data, PyBytes_AS_STRING(known), PyBytes_GET_SIZE(known)) == 0
