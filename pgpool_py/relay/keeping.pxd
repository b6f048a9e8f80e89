cimport cython
from pgpool_py.relay.returning cimport Returner
from pgpool_py.relay.server cimport Server
from pgpool_py.session.statements cimport Statement

cdef long NOTED, LOOKED, RELEASES, TOLD, HELD, CAUSES, DEVIATING, OBJECTS
cdef long DDL, SETTINGS, TRANSACTION_LOCAL, STATEMENT, EXECUTES, LISTEN, OPAQUE, MADE, UNREAD, GIVEN, JUDGED, DYNAMIC, FUNCTION, RESET, SEED, HASTY, BARE
cdef int CAUSE, OVERLAP, IDLE
cdef bytes SEED_NAME

cdef class Keeper(Returner):
    cdef public dict told
    cdef public object question
    cdef public object asked
    cdef public bytes overheard
    cdef public object touched
    cdef public bytes kept
    cdef public long prepared
    cdef public bint blind
    cdef public long makes
    cdef public bint makes_events
    cdef public frozenset makes_settings
    cdef public int deviation
    cdef public int values
    cdef public bint wrote
    cdef public Server value_at
    cdef public double value_since

    @cython.locals(there=object)
    cpdef bint fits(self, Server server)
    @cython.locals(bits=cython.long, did=cython.long, made=cython.long)
    cpdef note(self, Server server, long verdict, bytes text, Statement statement, bytes bind)
    cpdef long statement_bits(self)
    cpdef long touch(self, Server server, long bits, object found, bytes bind, long made, frozenset named)
    cpdef tuple names_bound(self, object found, bytes bind, frozenset named)
    cpdef define(self, Server server, object found, bytes bind, long made, frozenset named)
    cpdef deviates(self, Server server, object names)
    cpdef overhear(self, Server server, bytes piece)
    cpdef defined(self, Server server, list custom)
    cpdef ask(self, Server server)
    cpdef look(self, Server server)
    cpdef tuple made(self, bytes text, bytes bind, long verdict)
    cpdef abandon(self, Server server)
    cpdef forget(self, Server server)
    cpdef object lasting(self, Server server)
