cimport cython
from pgpool_py.relay._io cimport load, piece, recv, send, send_bytes
from pgpool_py.relay.tls cimport Channel
from pgpool_py.seam cimport Member

cdef int READ, WRITE

cdef class Hub:
    cdef public double now
    cdef public list broken
    cdef public dict timed
    cdef public bint busy
    cdef public object client_idle_state
    cdef public object client_waiting_state
    cdef public object idle_state
    cdef public object active_state
    cdef public object tested_state
    cdef public object being_canceled_state

cdef class Connection(Member):
    cdef public Hub relay
    cdef public int fd
    cdef public int interest
    cdef public bint reading
    cdef public bint broken
    cdef public bint closed
    cdef public bytes out
    cdef public bytes tail
    cdef public long long passing
    cdef public int awaiting
    cdef public Channel tls
    cdef public bint again
    cdef public object subscription
    cdef public bint held
    cdef public object unheard

    @cython.locals(n=cython.int)
    cpdef send_range(self, int start, int stop)
    @cython.locals(n=cython.int)
    cpdef send_data(self, bytes data)
    @cython.locals(n=cython.int)
    cpdef flush(self)
    cpdef fail(self)
    @cython.locals(n=cython.int)
    cpdef int receive(self, int at) except -3
    @cython.locals(n=cython.int)
    cdef int read_behind(self, int at) except -3
    cpdef pause(self)
    cpdef resume(self)
    @cython.locals(wanted=cython.int)
    cpdef update(self)
    cpdef on_event(self, int events)
    cpdef flushed(self)
    cpdef on_broken(self)
    cpdef linked(self, Connection server)
    cpdef settled(self)
    cpdef difference_known(self, bint failed, bytes error)
    cpdef difference_done(self, bint failed)
    cpdef looked(self, list rows, bytes error)
    cpdef channels_placed(self, bint failed)
    cpdef marker_placed(self, bint failed)
    cpdef cancel_now(self)
    cpdef cleared(self, bint failed)
    cpdef answered(self)
    cpdef bytes parameter_changed(self, bytes name, bytes value)
    cpdef bytes notified(self, bytes message)
    cpdef undo(self, list dropped, bint refused)
    cpdef reset_all(self, bint statements)
    cpdef deallocated(self, object note)
    cpdef bint misses_nothing(self)
    cpdef server_gone(self, bint told)
    cpdef server_closing(self, str reason)
    cpdef bytes own_names(self, bytes message, object note)
    cpdef types_told(self, object note, bytes types)
    cpdef columns_told(self, object note, bytes body)
    cpdef setting_in_force(self, object note, bytes row)
    cpdef overtaken(self, Connection server, long made, frozenset named)
    cpdef plan_changed(self)
    cpdef undone(self)
