# C types of pool.py. Lists stay Python dicts.
cimport cython
from pgpool_py.seam cimport Dispenser, Member

cdef object _CLIENT_IDLE, _CLIENT_ACTIVE, _CLIENT_WAITING, _ACTIVE, _IDLE

cdef class Pool(Dispenser):
    # identity
    cdef readonly str database
    cdef readonly str user
    cdef public object settings
    cdef readonly tuple limits
    # lists of servers
    cdef readonly dict active
    cdef readonly dict idle
    cdef readonly dict used
    cdef readonly dict tested
    cdef readonly dict being_canceled
    cdef readonly Py_ssize_t connecting
    # clients
    cdef readonly set clients
    cdef readonly object waiting
    # what makes release look closer
    cdef public bint special
    cdef public double lifetime_due
    cdef readonly dict cancels
    cdef readonly bint paused
    cdef readonly bint blocked
    cdef readonly bint contended
    cdef readonly bint round_robin
    cdef readonly Py_ssize_t full_size
    # memory of the past
    cdef public double last_lifetime_disconnect
    cdef readonly double reconnected_at
    cdef readonly double login_failed_since
    cdef readonly double last_login_failure
    cdef readonly str login_error
    cdef readonly bint ever_connected
    # counters
    cdef readonly long long server_assignment_count
    cdef readonly double wait_time

    @cython.locals(idle=dict, server=Member)
    cpdef object acquire(self, Member client, double now)
    cpdef object release(self, Member server, double now)
    cpdef bint may_grow(self)
    cpdef object activate(self, object now)
    cpdef Py_ssize_t server_count(self)
    cpdef Py_ssize_t connected_count(self)
    cpdef Py_ssize_t over_size(self)
    cdef object _wait(self, Member client, double now)
    cdef object _acquire_other(self, Member client, Member obsolete, double now)
    cdef object _release_special(self, Member server, double now)
    cdef object _give_or_keep(self, Member server, double now)
    @cython.locals(client=Member)
    cpdef object hand_over(self, Member server, double now)
