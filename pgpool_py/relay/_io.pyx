"""The C form of the seam between the relay and the system; _io.pxd holds most of it, _io.py is the other form and explains both."""

from cpython.buffer cimport PyBUF_WRITE
from cpython.memoryview cimport PyMemoryView_FromMemory

view = PyMemoryView_FromMemory(<char *>data, sizeof(data), PyBUF_WRITE)


cpdef int wait(int epoll, int milliseconds) noexcept:
    cdef int n
    if milliseconds:
        with nogil:
            n = epoll_wait(epoll, ready, 512, milliseconds)
    else:
        n = epoll_wait(epoll, ready, 512, 0)
    return n if n > 0 else 0
