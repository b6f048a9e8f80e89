cimport cython
from pgpool_py.relay._io cimport byte, find_zero, piece, raw, u32
from pgpool_py.relay.hearing cimport Hearer
from pgpool_py.relay.server cimport Server
from pgpool_py.session.statements cimport SessionContext, Statement

cdef int DESCRIBE, CLOSE
cdef int OWED_QUERY, OWED_PARSE, OWED_BIND, OWED_DESCRIBE, OWED_CLOSE, OWED_EXECUTE, OWED_FUNCTION_CALL
cdef int BEGINNING, HOLD, IN_TRANSACTION_FAILED, REFUSAL, CLEARING, MIXED, UNSETTLED
cdef int SENT, KEPT, INCOMPLETE, AWAITS_READY, AWAITS_CLEARING, KEEPS_UNNAMED, KEEPS_NAMED
cdef long OPAQUE, STATEMENT, PIN, CLEANUP, CHANGES, UNSETTABLE, NOTED, LISTEN, BACK, UNKNOWN, DYNAMIC, UNSYNCED
cdef long TRANSACTION_END, MEETS_OTHERS, READS_VALUES, VALUES, NAMES_STATEMENTS

cdef class Requester(Hearer):
    cdef list stage
    cdef int start
    cdef public long long query_count

    cdef int keep(self, Server server, int pos, int stop) except -1
    cdef int wait(self, Server server, int pos, int stop) except -1
    cdef int broken_off(self, Server server, int pos, str message) except -1
    cdef int unreadable(self, Server server) except -1
    @cython.locals(data=bytes)
    cdef forward(self, Server server, int pos)
    cdef list staged(self, int pos)
    cdef instead(self, int pos, int end, bytes message)
    @cython.locals(
        context=SessionContext, whole=cython.bint, verdict=cython.long, owed=cython.int, extra=bytes, name=bytes, text=bytes,
    )
    cdef int on_query(self, Server server, int pos, long long end, int stop) except -1
    @cython.locals(
        context=SessionContext, whole=cython.bint, verdict=cython.long, portal_end=cython.int, name_end=cython.int,
        statement=Statement, name=bytes, extra=bytes, there=bytes, message=bytes, size=cython.int, refusal=tuple,
    )
    cdef int on_bind(self, Server server, int pos, long long end, int stop) except -1
    cdef int parse_refused(self, Server server, int pos, long long end, bytes name, tuple refusal) except -1
    @cython.locals(context=SessionContext, verdict=cython.long, target=bytes)
    cdef object bound_to(self, Server server, Statement statement, int pos, int portal_end, long long end, object note)
    @cython.locals(statement=Statement, target=bytes, before=tuple)
    cdef int execute_clearing(self, Server server, bytes portal, int pos, long long end, int stop) except -1
    @cython.locals(
        context=SessionContext, whole=cython.bint, unnamed=cython.bint, verdict=cython.long, level=cython.int, name_end=cython.int,
        deviation=cython.int, statement=Statement, refusal=tuple, extra=bytes, before=tuple, text=bytes, body=bytes,
    )
    cdef int on_parse(self, Server server, int pos, long long end, int stop) except -1
    @cython.locals(name=bytes, stage=list)
    cdef int on_describe_or_close(self, Server server, int kind, int pos, long long end, int stop) except -1
    @cython.locals(context=SessionContext, whole=cython.bint, extra=bytes, verdict=cython.long)
    cdef int on_function_call(self, Server server, int pos, long long end, int stop) except -1
    cdef bint must_clear(self, Server server, int pos) except -1
    cdef bint names_unsure(self, Server server)
    cdef bytes beginning(self, int start, int stop)
    cdef note_long(self, Server server, long verdict, int start, int stop)
    cpdef violation(self, str message)


cdef bytes query_message(bytes text)
