cimport cython
from pgpool_py.relay._io cimport byte, find_zero, load, piece, raw, u32
from pgpool_py.relay.hearing cimport Hearer
from pgpool_py.relay.server cimport Server
from pgpool_py.session.statements cimport SessionContext, Statement

cdef int WRITE, GONE
cdef int QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, FLUSH, FUNCTION_CALL, COPY_DATA, COPY_DONE, COPY_FAIL, TERMINATE
cdef int OWED_QUERY, OWED_PARSE, OWED_BIND, OWED_DESCRIBE, OWED_EXECUTE, OWED_CLOSE, OWED_SYNC, OWED_FUNCTION_CALL
cdef object LETTERS
cdef int BEGINNING, HOLD, IN_TRANSACTION_FAILED, IDLE, REFUSAL, MIXED, UNSETTLED
cdef int SENT, KEPT, INCOMPLETE, AWAITS_ANSWERS, AWAITS_READY, KEEPS_UNNAMED, KEEPS_NAMED, KEEPS_VALUE
cdef long OPAQUE, STATEMENT, PIN, CLEANUP, CHANGES, UNSETTABLE, NOTED, LISTEN, BACK, UNKNOWN, DYNAMIC
cdef long TRANSACTION_END, MEETS_OTHERS, READS_VALUES, VALUES

cdef class Reader(Hearer):
    cdef public int cancel_key
    cdef public bint skipping
    cdef public bint ending
    cdef public bint hung_up
    cdef list stage
    cdef int start
    cdef public double query_start
    cdef public double transaction_start
    cdef public long long query_count

    @cython.locals(at=cython.int, n=cython.int, server=Server)
    cpdef on_event(self, int events)
    @cython.locals(data=bytes)
    cpdef go_on(self)
    cdef int keep(self, Server server, int pos, int stop) except -1
    @cython.locals(data=bytes)
    cdef forward(self, Server server, int pos)
    cdef list staged(self, int pos)
    cdef instead(self, int pos, int end, bytes message)
    @cython.locals(
        pos=cython.int, kind=cython.int, length=cython.longlong, end=cython.longlong, whole=cython.bint, done=cython.int,
        server=Server, context=SessionContext, extra=bytes,
    )
    cdef process(self, int stop)
    cdef Server acquire(self, int pos, int stop)
    cdef int wait(self, Server server, int pos, int stop) except -1
    cdef bytes beginning(self, int start, int stop)
    cdef note_long(self, Server server, long verdict, int start, int stop)
    cdef bint known(self, int kind)
    @cython.locals(
        context=SessionContext, whole=cython.bint, verdict=cython.long, owed=cython.int, extra=bytes, name=bytes, text=bytes,
    )
    cdef int on_query(self, Server server, int pos, long long end, int stop) except -1
    @cython.locals(
        context=SessionContext, whole=cython.bint, verdict=cython.long, portal_end=cython.int, name_end=cython.int,
        statement=Statement, name=bytes, extra=bytes, portal=bytes, stage=list, size=cython.int,
    )
    cdef int on_bind(self, Server server, int pos, long long end, int stop) except -1
    @cython.locals(context=SessionContext, verdict=cython.long)
    cdef object bound_to(self, Server server, Statement statement, int pos, int portal_end, long long end, object note)
    @cython.locals(
        context=SessionContext, whole=cython.bint, unnamed=cython.bint, verdict=cython.long, level=cython.int, name_end=cython.int,
        deviation=cython.int, statement=Statement, refusal=tuple, extra=bytes, before=tuple, text=bytes, body=bytes,
    )
    cdef int on_parse(self, Server server, int pos, long long end, int stop) except -1
    @cython.locals(name=bytes, stage=list)
    cdef int on_describe_or_close(self, Server server, int kind, int pos, long long end, int stop) except -1
    @cython.locals(context=SessionContext, stage=list)
    cdef list take(self, Server server)
    cdef tell(self, Server server)
    cpdef end(self)
    cpdef drop(self, str reason)
    cpdef violation(self, str message)


cdef bytes query_message(bytes text)
