cdef class Settings:
    cdef public dict values
    cdef public dict statements
    cdef public dict differences
