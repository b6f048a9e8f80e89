cimport cython
from pgpool_py.relay.reading cimport Reader
from pgpool_py.relay.server cimport Server

cdef int IDLE, QUERY, FUNCTION_CALL, OWN_QUERY

cdef class Canceler(Reader):
    @cython.locals(server=Server)
    cpdef cancel(self)
    @cython.locals(server=Server)
    cpdef cancel_now(self)
    cdef cancel_waiting(self)
    @cython.locals(data=bytes)
    cpdef refuse_request(self, str code, str message)
