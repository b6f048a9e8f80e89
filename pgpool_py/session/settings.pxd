cimport cython

@cython.final
cdef class Settings:
    cdef public dict values
    cdef public object custom
    cdef public Settings meaning
    cdef public dict statements
    cdef public dict differences
    cdef public list recent
