cdef class Member:
    cdef public object state
    cdef public Dispenser pool
    cdef public double connect_time
    cdef public double wait_start
    cdef public Member last_server
    cdef public double request_time
    cdef public bint close_needed
    cdef public Member ahead
    cdef public Member behind

cdef class Dispenser:
    cpdef Member acquire(self, Member client, double now)
    cpdef bint may_grow(self) except -1
    cpdef Member release(self, Member server, double now)
