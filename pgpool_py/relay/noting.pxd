cimport cython
from pgpool_py.relay.connection cimport Connection
from pgpool_py.relay.returning cimport Returner
from pgpool_py.relay.server cimport Server
from pgpool_py.session.statements cimport Statement

cdef long NOTED, RELEASES, TOLD, EXIT_ONLY, CAUSES, DEVIATING, OBJECTS, JUDGED
cdef long DDL, SETTINGS, TRANSACTION_LOCAL, STATEMENT, EXECUTES, LISTEN, OPAQUE, MADE, UNREAD, GIVEN, DYNAMIC, FUNCTION
cdef int CAUSE, OVERLAP, IDLE

cdef class Noter(Returner):
    cdef public object question
    cdef public bytes overheard
    cdef public object touched
    cdef public long prepared
    cdef public frozenset takers
    cdef public bint blind
    cdef public bint overturns
    cdef public frozenset temporaries
    cdef public frozenset made_here
    cdef public frozenset transient
    cdef public long makes
    cdef public bint brought
    cdef public bint makes_events
    cdef public frozenset makes_settings
    cdef public int deviation

    @cython.locals(bits=cython.long, did=cython.long, made=cython.long)
    cpdef note(self, Server server, long verdict, bytes text, Statement statement, bytes bind)
    cpdef overtaken(self, Connection server, long made, frozenset named)
    cpdef may_have_done_anything(self, Server server, frozenset candidates, long made, frozenset named)
    cpdef tuple made(self, bytes text, object values, long verdict)
    cpdef long executes(self, bytes text, long verdict)
    cpdef long statement_bits(self)
    cpdef object names_executed(self, bytes text)
    cpdef list statement_effects(self)
    cpdef frozenset statement_names(self)
    cpdef long touch(self, Server server, long bits, object found, object values, long made, frozenset named)
    cpdef define(self, Server server, object found, object values, long made, frozenset named)
    cpdef deviates(self, Server server, object names)
    cpdef overhear(self, Server server, bytes piece)
    cpdef defined(self, Server server, list custom)
