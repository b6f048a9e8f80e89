cimport cython
from pgpool_py.relay._io cimport byte, find_zero, piece, recv, u32
from pgpool_py.relay.connection cimport Connection
from pgpool_py.relay.upkeep cimport Upkeep
from pgwire.expected cimport Expected

cdef int WRITE, GONE
cdef int DATA_ROW, COMMAND_COMPLETE, READY_FOR_QUERY, ERROR_RESPONSE, PARAMETER_STATUS, COPY_DATA, COPY_IN_RESPONSE, ROW_DESCRIPTION
cdef int NOTICE_RESPONSE, NOTIFICATION_RESPONSE, PARSE_COMPLETE, CLOSE_COMPLETE, NO_DATA, PARAMETER_DESCRIPTION
cdef int OWED_QUERY, OWED_PARSE, OWED_DESCRIBE, SKIP, PASS, WRONG
cdef int IDLE, IN_BLOCK, IN_FAILED_BLOCK, HOLD, HOLD_OWN
cdef long RESET, OPAQUE, SEED, OBJECTS
cdef long long LARGEST, SELECT
cdef dict FORESEEN
cdef object PLAIN_TAGS

cdef class Server(Upkeep):
    cdef public int number
    cdef public object address
    cdef public int pid
    cdef public bytes key
    cdef public bint swallowing
    cdef public double answered_at
    cdef public double transaction_start
    cdef public dict reported
    cdef public int owner_key
    cdef public double owner_since
    cdef public int former_key

    @cython.locals(at=cython.int, n=cython.int, client=Connection)
    cpdef on_event(self, int events)
    cpdef others_change_catalogs(self, long made, frozenset named)
    @cython.locals(
        pos=cython.int, start=cython.int, kind=cython.int, length=cython.longlong, end=cython.longlong, whole=cython.bint,
        answer=cython.int, tag=cython.longlong, status=cython.int, client=Connection, expected=Expected, replaced=bytes,
    )
    cdef scan(self, int stop)
    cdef bint is_asked_for(self) except -1
    cdef send_fakes(self)
    cdef undo_dropped(self, bint refused)
    cdef bytes on_error(self, int pos, int end)
    cdef bytes on_end(self, int pos, int end)
    cdef bytes last_words(self, int pos, int end)
    cdef bytes on_parameter(self, int pos, int end)
    cdef bytes on_tag(self, bytes tag)
