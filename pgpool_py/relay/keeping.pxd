cimport cython
from pgpool_py.relay.noting cimport Noter
from pgpool_py.relay.server cimport Server

cdef long LOOKED, RELEASES, HELD, OBJECTS, SETTINGS, STATEMENT, OPAQUE, RESET, SEED, HASTY, BARE

cdef class Keeper(Noter):
    cdef public dict told
    cdef public object asked
    cdef public bytes kept
    cdef public int values
    cdef public bint wrote
    cdef public Server value_at
    cdef public double value_since

    @cython.locals(there=object)
    cpdef bint fits(self, Server server) except -1
    cpdef ask(self, Server server)
    cpdef look(self, Server server)
    cpdef abandon(self, Server server)
    cpdef forget(self, Server server)
    cpdef object lasting(self, Server server)
    cpdef temporary_found(self, bint there)
    cpdef bint has_own_names(self)
    cpdef bint is_forbidden(self, Server server)
