from pgpool_py.relay.connection cimport Connection
from pgpool_py.relay.server cimport Server
from pgpool_py.session.statements cimport SessionContext

cdef long RESET

cdef class Pinner(Connection):
    cdef public SessionContext context
    cdef public Server server
    cdef public int keeps_server
    cdef public tuple pins
    cdef public double pin_start
    cdef public bytes cause
    cdef public bint unknowable
    cdef public str trouble

    cpdef tuple refusal(self, bytes text, long verdict)
    cpdef unpin(self, Server server)
