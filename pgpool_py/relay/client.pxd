cimport cython
from pgpool_py.relay.canceling cimport Canceler
from pgpool_py.relay.connection cimport Connection
from pgpool_py.relay.server cimport Server
from pgpool_py.session.statements cimport SessionContext

cdef int IDLE, KEEPS_HELD, AWAITS_CLEARING, AWAITS_READY, AWAITS_CHANNELS, AWAITS_END
cdef long OPAQUE, RESET, OBJECTS, LOOKED, CLEANUP, DEVIATING

cdef class Client(Canceler):
    cdef public int number
    cdef public object database
    cdef public str user
    cdef public object peer
    cdef public bytes cancel_secret
    cdef public bytes difference_error
    cdef public str leaving
    cdef public double deadline
    cdef public long long transaction_count
    cdef public double transaction_time
    cdef public double wait_time
    cdef public double idle_since
    cdef public double noticed

    cpdef linked(self, Connection server)
    @cython.locals(server=Server)
    cpdef settled(self)
    @cython.locals(server=Server)
    cpdef transaction_ended(self)
    @cython.locals(now=cython.double, context=SessionContext)
    cdef count_time(self, bint transaction_ended)
    cpdef give_up(self)
    @cython.locals(server=Server)
    cpdef bint misses_nothing(self)
    @cython.locals(server=Server)
    cdef bint keeps_idly(self)
    cdef bint is_midway(self)
    cdef part(self, str code, str message, bint midway)
    cdef forgo(self)
    cpdef finish(self)
    cpdef leave(self, str reason)
    cpdef give_back(self, Server server)
    cpdef refuse(self, str code, str message)
    cpdef timed_out(self)
