cimport cython
from pgpool_py.relay._io cimport byte, find_zero, piece, u32
from pgpool_py.relay.connection cimport Connection
from pgpool_py.seam cimport Dispenser
from pgpool_py.session.statements cimport SessionContext
from pgwire.expected cimport Expected

cdef int WRITE, GONE
cdef int DATA_ROW, COMMAND_COMPLETE, READY_FOR_QUERY, ERROR_RESPONSE, PARAMETER_STATUS, COPY_DATA, ROW_DESCRIPTION
cdef int NOTICE_RESPONSE, NOTIFICATION_RESPONSE, PARSE_COMPLETE, CLOSE_COMPLETE, NO_DATA
cdef int OWED_QUERY, OWED_PARSE, OWED_DESCRIBE, SKIP, PASS, WRONG
cdef int IDLE, IN_BLOCK, IN_FAILED_BLOCK, HOLD, HOLD_OWN
cdef int STEP_NONE, STEP_ROLLBACK, STEP_RESET, STEP_CHECK, STEP_UNLISTEN, STEP_VERIFY, STEP_CONNECT, STEP_START, STEP_STAY
cdef long UNCLEAN, RESET, OPAQUE, CHANNELS, SEED, SEEDED, HASTY
cdef long long LARGEST, SELECT
cdef dict FORESEEN
cdef object PLAIN_TAGS

cdef class Server(Connection):
    cdef public int number
    cdef public object address
    cdef public int pid
    cdef public bytes key
    cdef public SessionContext context
    cdef public Connection client
    cdef public Expected expected
    cdef public int status
    cdef public bint ready
    cdef public bint swallowing
    cdef public bint told_fatal
    cdef public double answered_at
    cdef public double transaction_start
    cdef public long dirty
    cdef public bint unsettable
    cdef public bint verified
    cdef public object in_force
    cdef public object start
    cdef public object question
    cdef public dict defaults
    cdef public object placeholders
    cdef public bint temporary
    cdef public dict reported
    cdef public dict statements
    cdef public object unnamed
    cdef public int owner_key
    cdef public double owner_since
    cdef public int former_key
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


    @cython.locals(at=cython.int, n=cython.int, client=Connection)
    cpdef on_event(self, int events)
    cpdef define(self, names)
    cpdef had_temporary(self)
    cpdef bint takes_buffers(self, object settings)
    @cython.locals(waiter=Connection, pool=Dispenser)
    cpdef settled(self)
    @cython.locals(
        pos=cython.int, start=cython.int, kind=cython.int, length=cython.longlong, end=cython.longlong, whole=cython.bint,
        answer=cython.int, tag=cython.longlong, status=cython.int, client=Connection, expected=Expected, replaced=bytes,
    )
    cdef scan(self, int stop)
    cdef bint is_asked_for(self)
    cdef own_row(self, bytes row)
    cdef send_fakes(self)
    cdef undo_dropped(self)
    cdef bytes on_error(self, int pos, int end)
    cdef bytes on_parameter(self, int pos, int end)
    cdef bytes on_tag(self, bytes tag)
    cpdef lost(self)
    cpdef doubt(self, str what)
    cpdef close(self, str reason)
    cpdef query(self, bytes text, object note)
    cpdef own_query(self, int step, bytes text)
    cdef own_done(self, object note)
    cdef started(self)
    cpdef let_go(self)
    cdef bint is_taken(self)
    cpdef begin_reset(self)
    cpdef cancel_begun(self)
    cpdef cancel_ended(self)
    cpdef stay(self)
    cpdef check(self, bytes text)
    cpdef timed_out(self)
