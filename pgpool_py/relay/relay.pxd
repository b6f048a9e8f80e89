cimport cython
from pgpool_py.relay._io cimport clock, ready_events, ready_fd, wait
from pgpool_py.relay.client cimport Client
from pgpool_py.relay.connection cimport Connection, Hub
from pgpool_py.relay.server cimport Server

cdef double TURN
cdef int LINGER

@cython.final
cdef class Relay(Hub):
    cdef public object broker
    cdef public object epoll
    cdef public int fd
    cdef public list table

    cpdef add(self, Connection connection, bytes leftover)
    cpdef modify(self, int fd, int interest)
    @cython.locals(
        end=cython.double, linger=cython.int, n=cython.int, i=cython.int, events=cython.int, server=Server, client=Client,
    )
    cpdef drain(self)
    cpdef reap(self)
    cpdef tick(self)
    cpdef close_client(self, Client client, str reason)
    cpdef close_server(self, Server server, str reason)
    cpdef _close(self, Connection connection)
    cpdef close(self)
