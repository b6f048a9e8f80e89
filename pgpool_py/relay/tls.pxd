cimport cython
from pgpool_py.relay._io cimport piece

cdef int RECORD, ROOM, LARGE
cdef object FIRST

cdef class Channel:
    cdef public object sock
    cdef public str description
    cdef public bint again
    cdef object read
    cdef object write

    @cython.locals(total=cython.int, n=cython.int)
    cpdef int receive(self, int at) except -3
    cpdef int send(self, int start, int stop) except -3
    cpdef int send_bytes(self, bytes source) except -3
    cpdef int put(self, object part) except -3
    cpdef close(self)
