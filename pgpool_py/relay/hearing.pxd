cimport cython
from pgpool_py.relay._io cimport byte, find_zero, piece, u32
from pgpool_py.relay.preparing cimport Preparer
from pgpool_py.relay.server cimport Server
from pgpool_py.session.statements cimport SessionContext, Statement

cdef int PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, FUNCTION_CALL, COPY_DATA, COPY_DONE, COPY_FAIL, TERMINATE
cdef object BATCH
cdef long LISTEN, OPAQUE

cdef class Hearer(Preparer):
    @cython.locals(verdict=cython.long)
    cdef bytes ahead_of(self, Server server, int kind, int pos, int stop)
    cdef bint must_wait(self, Server server, int kind)
    @cython.locals(kind=cython.int, end=cython.longlong, name_end=cython.int, portal_end=cython.int, found=cython.long, statement=Statement, name=bytes)
    cdef long concerns_channels(self, int pos, int stop)
    cdef bint connects(self, Server server, bytes text)
    @cython.locals(extra=bytes)
    cdef bytes listening(self, Server server, bytes text, long verdict)
    cpdef go_on(self)
    cpdef finish(self)
    cpdef leave(self, str reason)
    cpdef refuse(self, str code, str message)
