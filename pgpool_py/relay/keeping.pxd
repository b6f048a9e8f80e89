cimport cython
from pgpool_py.relay.connection cimport Connection
from pgpool_py.relay.server cimport Server
from pgpool_py.session.settings cimport Settings
from pgpool_py.session.statements cimport SessionContext, Statement

cdef long NOTED, LOOKED, RELEASES, TOLD, HELD, CAUSES, DEVIATING, BACK, OBJECTS
cdef long DDL, SETTINGS, TRANSACTION_LOCAL, STATEMENT, EXECUTES, LISTEN, OPAQUE, DYNAMIC, FUNCTION, RESET, SEED, HASTY, BARE
cdef int CAUSE, OVERLAP, IDLE
cdef bytes SEED_NAME

cdef class Keeper(Connection):
    cdef public SessionContext context
    cdef public Server server
    cdef public Settings settings
    cdef public Settings startup
    cdef public dict told
    cdef public int keeps_server
    cdef public object question
    cdef public object asked
    cdef public tuple pins
    cdef public double pin_start
    cdef public bytes overheard
    cdef public object touched
    cdef public bytes kept
    cdef public bytes cause
    cdef public long prepared
    cdef public bint unknowable
    cdef public bint blind
    cdef public bint makes_names
    cdef public bint makes_events
    cdef public dict going_back
    cdef public frozenset makes_settings
    cdef public bint all_back
    cdef public int deviation
    cdef public bint differing
    cdef public int values
    cdef public bint wrote
    cdef public Server value_at
    cdef public double value_since
    cdef public str trouble

    @cython.locals(there=object)
    cpdef bint fits(self, Server server)
    @cython.locals(bits=cython.long, did=cython.long)
    cpdef defines(self, Server server)
    cpdef note(self, Server server, long verdict, bytes text, Statement statement, bytes bind)
    cpdef long statement_bits(self)
    cpdef long touch(self, Server server, long bits, object found, bytes bind)
    cpdef define(self, Server server, object found, bytes bind)
    cpdef deviates(self, Server server, object names)
    cpdef overhear(self, Server server, bytes piece)
    cpdef defined(self, Server server, list custom)
    cpdef ask(self, Server server)
    cpdef look(self, Server server)
    cpdef long dynamic(self, bytes text)
    cpdef abandon(self, Server server)
    cpdef tuple refusal(self, bytes text)
    cpdef unpin(self, Server server)
    cpdef list way_back(self, Server server, bytes executed)
    cpdef portal_bound(self, Server server, bytes portal, Statement statement)
    cpdef object completed(self, Server server, bytes text)
    cpdef restore(self, Server server)
    cpdef forget(self, Server server)
    cpdef object lasting(self, Server server)
