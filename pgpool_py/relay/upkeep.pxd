cimport cython
from pgpool_py.relay.connection cimport Connection
from pgpool_py.seam cimport Dispenser
from pgpool_py.session.statements cimport SessionContext
from pgwire.expected cimport Expected

cdef int OWED_QUERY, SKIP, IDLE
cdef int STEP_NONE, STEP_ROLLBACK, STEP_RESET, STEP_CHECK, STEP_UNLISTEN, STEP_VERIFY, STEP_CONNECT, STEP_START, STEP_STAY
cdef long UNCLEAN, RESET, CHANNELS, SEEDED, HASTY, UNSYNCED

cdef class Upkeep(Connection):
    cdef public SessionContext context
    cdef public Connection client
    cdef public Expected expected
    cdef public int status
    cdef public bint ready
    cdef public bint told_fatal
    cdef public bint ends
    cdef public long dirty
    cdef public str uncleared
    cdef public bytes cause
    cdef public bint verified
    cdef public object in_force
    cdef public object changed
    cdef public object here
    cdef public object start
    cdef public object question
    cdef public bint starts_temporary
    cdef public dict defaults
    cdef public object placeholders
    cdef public bint temporary
    cdef public dict statements
    cdef public object unnamed
    cdef public object sequence_owner
    cdef public int sequence_mixed
    cdef public int step
    cdef public double deadline
    cdef public bytes step_error
    cdef public list rows
    cdef public bint difference_failed
    cdef public bint difference_answered
    cdef public int cancels
    cdef public bint canceled

    cpdef let_go(self)
    cpdef abandoned(self)
    @cython.locals(waiter=Connection, pool=Dispenser)
    cpdef settled(self)
    cdef bint is_left(self) except -1
    cpdef begin_reset(self)
    cpdef cancel_begun(self)
    cpdef cancel_ended(self)
    cpdef query(self, bytes text, object note)
    cpdef synchronize(self)
    cpdef own_query(self, int step, bytes text)
    cpdef stay(self)
    cpdef check(self, bytes text)
    cpdef timed_out(self)
    cdef own_row(self, bytes row)
    cdef own_done(self, object note)
    cdef say_connect_query(self)
    cdef starts_anew(self)
    cpdef starts(self, object finding)
    cpdef define(self, names)
    cpdef had_temporary(self)
    cpdef bint takes_buffers(self, object settings)
    cpdef lost(self)
    cpdef doubt(self, str what)
    cpdef close(self, str reason)
