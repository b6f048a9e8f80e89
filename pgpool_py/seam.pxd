cdef class Member:
    cdef public object state
    cdef public Dispenser pool
    cdef public double connect_time
    cdef public double wait_start
    cdef public object last_server
    cdef public double request_time
    cdef public bint close_needed

cdef class Dispenser:
    cpdef object acquire(self, Member client, double now)
    cpdef bint may_grow(self)
    cpdef object release(self, Member server, double now)
