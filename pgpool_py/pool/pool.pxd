# C types of pool.py.
cimport cython
from pgpool_py.pool.line cimport Line
from pgpool_py.seam cimport Dispenser, Member

cdef object _CLIENT_IDLE, _CLIENT_ACTIVE, _CLIENT_WAITING, _ACTIVE, _IDLE

cdef class Pool(Dispenser):
    # identity
    cdef readonly str database
    cdef readonly str user
    cdef public object settings
    cdef readonly tuple limits
    # lists of servers
    cdef readonly Line active
    cdef readonly Line pinned
    cdef readonly Line surplus
    cdef readonly Line idle
    cdef readonly Line used
    cdef readonly Line tested
    cdef readonly Line being_canceled
    cdef readonly dict held
    cdef readonly set promised
    cdef public double look_again_at
    cdef readonly Py_ssize_t connecting
    # clients
    cdef readonly set clients
    cdef readonly Line waiting
    # what makes release look closer
    cdef public bint special
    cdef public double lifetime_due
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
    cdef public bint has_pinned
    # counters
    cdef readonly long long server_assignment_count
    cdef readonly double wait_time

    @cython.locals(idle=Line, server=Member)
    cpdef Member acquire(self, Member client, double now)
    cpdef Member release(self, Member server, double now)
    cpdef bint may_grow(self) except -1
    cpdef object activate(self, object now)
    cpdef Py_ssize_t places_taken(self)
    cpdef Py_ssize_t server_count(self)
    cpdef Py_ssize_t connected_count(self)
    cpdef Py_ssize_t over_size(self)
    cdef Member _wait(self, Member client, double now)
    cdef Line _list(self, object state)
    cdef Member _acquire_other(self, Member client, double now)
    cdef Member _release_special(self, Member server, double now)
    cdef Member _give_or_keep(self, Member server, double now)
    @cython.locals(client=Member)
    cpdef Member hand_over(self, Member server, double now)
