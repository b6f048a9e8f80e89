cimport cython

@cython.final
cdef class Settings:
    cdef public dict values
    cdef public object custom
    cdef public Settings meaning
    cdef public object idle_timeout
    cdef public bint hasty
    cdef public dict statements
    cdef public dict differences
    cdef public list recent
