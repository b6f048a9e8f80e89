cimport cython
from pgpool_py.relay._io cimport byte, piece, same, slot
from pgpool_py.relay.keeping cimport Keeper
from pgpool_py.relay.server cimport Server
from pgpool_py.session.settings cimport Settings
from pgpool_py.session.statements cimport SessionContext, Statement

cdef int DESCRIBE, OWED_QUERY, OWED_PARSE, OWED_CLOSE, OWED_DESCRIBE, SKIP, IDLE, IN_TRANSACTION_FAILED, REFUSAL, CLEARING
cdef long SETTINGS, TOUCHES, CHANGES, UNSETTABLE, READS_VALUES, VALUES, READS_STATEMENTS, NAMES_STATEMENTS

cdef class Preparer(Keeper):
    cdef public object names
    cdef public Statement unnamed
    cdef public object unnamed_told
    cdef bint unnamed_misled
    cdef tuple parse_note
    cdef public dict clearing

    @cython.locals(settings=Settings, statement=Statement, i=cython.int, recent=list)
    cdef Statement statement(self, int start, int stop)
    cdef bytes own(self, Server server, bytes text, object note)
    cpdef bytes clear_sequences(self, Server server)
    cdef bytes failing(self)
    @cython.locals(extra=bytes)
    cdef bytes before(self, Server server, long verdict, bytes text)
    @cython.locals(statement=Statement)
    cdef object placed(self, Server server, bytes name, bint describes, list stage)
    cdef bint asks(self, Server server, Statement statement, list stage) except -1
    cdef bint asks_columns(self, bytes name, int start, int stop)
    cdef forget_unnamed(self)
    cdef mark(self, Server server, long verdict)
    @cython.locals(statement=Statement)
    cdef bint place_unnamed(self, Server server, bint describes, list stage) except -1
    @cython.locals(bits=cython.long)
    cpdef long statement_bits(self)
