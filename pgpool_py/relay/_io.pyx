"""The C form of the seam between the relay and the system; _io.py is the other and explains both."""

from cpython.buffer cimport PyBUF_WRITE
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.memoryview cimport PyMemoryView_FromMemory
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memchr, memcpy


cdef extern from "<sys/socket.h>" nogil:
    ssize_t c_recv "recv"(int fd, void *buffer, size_t size, int flags)
    ssize_t c_send "send"(int fd, const void *buffer, size_t size, int flags)
    int MSG_NOSIGNAL


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    cdef struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_wait(int epoll, epoll_event *events, int count, int milliseconds)


cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int which, timespec *result)
    int CLOCK_MONOTONIC


cdef int CHUNK = 65536
cdef unsigned char data[262144]
cdef epoll_event ready[512]
view = PyMemoryView_FromMemory(<char *>data, sizeof(data), PyBUF_WRITE)


cpdef int recv(int fd, int at) noexcept:
    cdef ssize_t n
    while True:
        n = c_recv(fd, data + at, CHUNK, 0)
        if n >= 0:
            return <int>n
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            return -1
        return -2


cpdef int send(int fd, int start, int stop) noexcept:
    cdef ssize_t n
    while True:
        n = c_send(fd, data + start, stop - start, MSG_NOSIGNAL)
        if n >= 0:
            return <int>n
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            return -1
        return -2


cpdef int send_bytes(int fd, bytes source, int start) noexcept:
    cdef ssize_t n
    cdef const char *text = PyBytes_AS_STRING(source)
    cdef size_t size = PyBytes_GET_SIZE(source) - start
    while True:
        n = c_send(fd, text + start, size, MSG_NOSIGNAL)
        if n >= 0:
            return <int>n
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            return -1
        return -2


cpdef int wait(int epoll, int milliseconds) noexcept:
    cdef int n
    if milliseconds:
        with nogil:
            n = epoll_wait(epoll, ready, 512, milliseconds)
    else:
        n = epoll_wait(epoll, ready, 512, 0)
    return n if n > 0 else 0


cpdef int ready_fd(int i) noexcept:
    return ready[i].data.fd


cpdef int ready_events(int i) noexcept:
    return <int>ready[i].events


cpdef void load(int at, bytes source) noexcept:
    memcpy(data + at, PyBytes_AS_STRING(source), PyBytes_GET_SIZE(source))


cpdef bytes piece(int start, int stop):
    return PyBytes_FromStringAndSize(<char *>data + start, stop - start)


cpdef int find_zero(int start, int stop) noexcept:
    cdef void *at
    if start >= stop:
        return -1
    at = memchr(data + start, 0, stop - start)
    if at == NULL:
        return -1
    return <int>(<unsigned char *>at - data)


cpdef double clock() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + t.tv_nsec * 1e-9


cpdef int byte(int i) noexcept:
    return data[i]


cpdef long long u32(int i) noexcept:
    return (<long long>data[i] << 24) | (data[i + 1] << 16) | (data[i + 2] << 8) | data[i + 3]
