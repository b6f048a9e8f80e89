cimport cython
from pgpool_py.relay._io cimport byte, find_zero, load, piece, raw, recv, same, slot, u32
from pgpool_py.relay.connection cimport Connection
from pgpool_py.relay.keeping cimport Keeper
from pgpool_py.relay.server cimport Server
from pgpool_py.session.settings cimport Settings
from pgpool_py.session.statements cimport SessionContext, Statement

cdef int WRITE, GONE
cdef int QUERY, PARSE, BIND, DESCRIBE, EXECUTE, CLOSE, SYNC, FLUSH, FUNCTION_CALL, COPY_DATA, COPY_DONE, COPY_FAIL, TERMINATE
cdef int OWED_QUERY, OWED_PARSE, OWED_BIND, OWED_DESCRIBE, OWED_EXECUTE, OWED_CLOSE, OWED_SYNC, OWED_FUNCTION_CALL, SKIP, FAKE
cdef object BATCH, LETTERS
cdef int AWAITS_COPY, AWAITS_READY, AWAITS_CHANNELS, AWAITS_COLUMNS, KEEPS_UNNAMED, KEEPS_NAMED, KEEPS_VALUE
cdef int BEGINNING, HOLD, IN_TRANSACTION_FAILED, IDLE, UNSETTLED, REFUSAL, MIXED, CLEARING
cdef long OPAQUE, STATEMENT, PIN, RESET, CLEANUP, CHANGES, UNSETTABLE, NOTED, LOOKED, EXPLAINED, LISTEN, BACK, UNKNOWN
cdef long TRANSACTION_END, TRANSACTION_EXIT_ONLY
cdef long READS, READS_SEQUENCE, READS_STATEMENTS, NAMES_STATEMENTS, READS_VALUES, VALUES

cdef class Client(Keeper):
    cdef public int number
    cdef public object database
    cdef public str user
    cdef public object peer
    cdef public int cancel_key
    cdef public bytes cancel_secret
    cdef public bytes difference_error
    cdef public bint skipping
    cdef public bint ending
    cdef public bint hung_up
    cdef public bint leaving
    cdef public double deadline
    cdef public double query_start
    cdef public double transaction_start
    cdef public long long query_count
    cdef public long long transaction_count
    cdef public double transaction_time
    cdef public double wait_time
    cdef public double idle_since
    cdef public double noticed
    cdef public object names
    cdef public Statement unnamed
    cdef public tuple bound
    cdef tuple parse_note
    cdef public int cleared_ahead

    @cython.locals(data=bytes)
    cpdef go_on(self)
    @cython.locals(at=cython.int, n=cython.int, server=Server)
    cpdef on_event(self, int events)
    @cython.locals(server=Server)
    cpdef settled(self)
    @cython.locals(settings=Settings, statement=Statement, i=cython.int, recent=list)
    cdef Statement statement(self, int start, int stop)
    @cython.locals(now=cython.double, context=SessionContext)
    cdef count_time(self, bint transaction_ended)
    cdef keep(self, Server server, list stage, int start, int pos, int stop)
    cdef forward(self, Server server, list stage, int start, int pos)
    @cython.locals(
        pos=cython.int, start=cython.int, kind=cython.int, length=cython.longlong, end=cython.longlong, whole=cython.bint,
        pooling=cython.bint, verdict=cython.long, portal_end=cython.int, name_end=cython.int, server=Server, stage=list,
        context=SessionContext, statement=Statement, name=bytes, extra=bytes, portal=bytes, before=tuple, text=bytes,
        refusal=tuple, level=cython.int, deviation=cython.int, owed=cython.int,
    )
    cdef process(self, int stop)
    cdef bytes beginning(self, int start, int stop)
    cdef bint known(self, int kind)
    @cython.locals(context=SessionContext, stage=list)
    cdef list take(self, Server server)
    cdef bytes own(self, Server server, bytes text, object note)
    cdef tell(self, Server server)
    cpdef linked(self, Connection server)
    @cython.locals(bits=cython.long)
    cpdef long statement_bits(self)
    @cython.locals(extra=bytes)
    cdef bytes before(self, Server server, long verdict, bytes text, bint apart)
    cdef int level(self)
    @cython.locals(statement=Statement, describes=cython.bint)
    cdef object placed(self, Server server, bytes name, bytes portal, int end, int stop, list stage)
    cdef bint describes(self, bytes portal, int start, int stop)
    @cython.locals(statement=Statement)
    cdef object tells(self, bytes portal)
    cdef tuple misled(self)
    @cython.locals(server=Server)
    cpdef transaction_ended(self)
    cdef bint discards(self, Server server, bytes text)
    cpdef bytes clear_sequences(self, Server server)
    cpdef give_up(self)
    cdef mark(self, Server server, long verdict)
    @cython.locals(statement=Statement)
    cdef bytes place_unnamed(self, Server server)
    cdef bint must_wait(self, Server server, int kind)
    @cython.locals(kind=cython.int, end=cython.longlong, name_end=cython.int, portal_end=cython.int, statement=Statement, name=bytes)
    cdef bint batch_needs_channels(self, int pos, int stop)
    cdef bytes listening(self, Server server, bytes text, long verdict)
    cpdef end(self)
    cpdef finish(self)
    cpdef leave(self, str reason)
    cpdef give_back(self, Server server)
    cpdef drop(self, str reason)
    cpdef refuse(self, str code, str message)
    cpdef violation(self, str message)
    cpdef timed_out(self)
    cpdef cancel(self)
    cpdef refuse_request(self, str code, str message)
