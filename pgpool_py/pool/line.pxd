cimport cython
from pgpool_py.seam cimport Member

@cython.final
cdef class Line:
    cdef Member end
    cdef readonly Py_ssize_t size

    @cython.locals(end=Member, last=Member)
    cdef void append(self, Member member) noexcept
    @cython.locals(ahead=Member, behind=Member)
    cdef void remove(self, Member member) noexcept
    @cython.locals(ahead=Member, behind=Member, end=Member)
    cdef void hand_on(self, Member member, Line other) noexcept
    cpdef Member first(self)
    cpdef Member last(self)
