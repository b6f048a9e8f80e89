cimport cython
from pgpool_py.relay._io cimport byte, find_zero, load, piece, recv, u32
from pgpool_py.relay.requesting cimport Requester
from pgpool_py.relay.server cimport Server
from pgpool_py.session.statements cimport SessionContext

cdef int WRITE, GONE
cdef int QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, FLUSH, FUNCTION_CALL, COPY_DATA, COPY_DONE, COPY_FAIL, TERMINATE
cdef int OWED_EXECUTE, OWED_SYNC
cdef object LETTERS
cdef int IDLE, MIXED, HOLD, SENT, KEPT, INCOMPLETE, AWAITS_ANSWERS, KEEPS_HELD

cdef class Reader(Requester):
    cdef public int cancel_key
    cdef public bint skipping
    cdef public bint ending
    cdef public bint hung_up
    cdef public double query_start
    cdef public double transaction_start
    cdef public bint cancel_due
    cdef public int cancels

    @cython.locals(at=cython.int, n=cython.int, server=Server, waits=cython.bint)
    cpdef on_event(self, int events)
    @cython.locals(data=bytes)
    cpdef go_on(self)
    @cython.locals(
        pos=cython.int, kind=cython.int, length=cython.longlong, end=cython.longlong, whole=cython.bint, done=cython.int,
        server=Server, context=SessionContext, extra=bytes, portal=bytes,
        zero=cython.int,
    )
    cdef process(self, int stop)
    @cython.locals(server=Server)
    cdef Server acquire(self, int pos, int stop)
    cdef bint goes_along(self, int kind) except -1
    cdef bint known(self, int kind) except -1
    @cython.locals(context=SessionContext, stage=list, at_once=cython.bint)
    cdef list take(self, Server server)
    cdef tell(self, Server server)
    cpdef end(self)
    cpdef drop(self, str reason)
