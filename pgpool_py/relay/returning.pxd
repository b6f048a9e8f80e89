from pgpool_py.relay.pinning cimport Pinner
from pgpool_py.relay.server cimport Server
from pgpool_py.session.settings cimport Settings
from pgpool_py.session.statements cimport Statement

cdef int IDLE, SKIP
cdef long OPAQUE, BACK, HASTY

cdef class Returner(Pinner):
    cdef public Settings settings
    cdef public Settings startup
    cdef public dict going_back
    cdef public bint all_back
    cdef public bint differing
    cdef public list restoring

    cpdef list way_back(self, Server server, bytes executed)
    cpdef portal_bound(self, Server server, bytes portal, Statement statement)
    cpdef list single_way_back(self, Server server, bytes text)
    cpdef object completed(self, Server server, bytes text)
    cpdef restore(self, Server server)
    cpdef bint restores_again(self, Server server, bytes error)
    cpdef defines(self, Server server)
