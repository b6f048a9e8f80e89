# The hot system calls and the shared buffer, in C, as inline functions: a byte of a message is one machine instruction for
# whoever cimports this.  See _io.py for what each function does.
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.errno cimport EAGAIN, EINTR, errno
from libc.string cimport memchr, memcmp, memcpy


cdef extern from "<sys/socket.h>" nogil:
    int MSG_NOSIGNAL


# Not recv(3) and send(3): those are cancellation points, and in a process with threads (the loop has some) libc spends four
# locked instructions on each.
cdef extern from "<sys/syscall.h>" nogil:
    long SYS_recvfrom
    long SYS_sendto


cdef extern from "<unistd.h>" nogil:
    long syscall(long number, ...)


cdef extern from "<sys/epoll.h>" nogil:
    ctypedef union epoll_data_t:
        int fd
    cdef struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_wait(int epoll, epoll_event *events, int count, int milliseconds)


cdef extern from "<arpa/inet.h>" nogil:
    unsigned int ntohl(unsigned int word)


cdef extern from "<time.h>" nogil:
    cdef struct timespec:
        long tv_sec
        long tv_nsec
    int clock_gettime(int which, timespec *result)
    int CLOCK_MONOTONIC


cdef unsigned char data[589824]  # SIZE in _io.py
cdef epoll_event ready[512]

cpdef int wait(int epoll, int milliseconds) noexcept


cpdef inline int recv(int fd, int at) noexcept:
    cdef ssize_t n
    while True:
        n = syscall(SYS_recvfrom, <long>fd, <void *>(data + at), <size_t>65536, <long>0, <void *>NULL, <void *>NULL)
        if n >= 0:
            return <int>n
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            return -1
        return -2


cpdef inline int send(int fd, int start, int stop) noexcept:
    cdef ssize_t n
    while True:
        n = syscall(SYS_sendto, <long>fd, <void *>(data + start), <size_t>(stop - start), <long>MSG_NOSIGNAL, <void *>NULL, <long>0)
        if n >= 0:
            return <int>n
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            return -1
        return -2


cpdef inline int send_bytes(int fd, bytes source, int start) noexcept:
    cdef ssize_t n
    cdef const char *text = PyBytes_AS_STRING(source)
    cdef size_t size = PyBytes_GET_SIZE(source) - start
    while True:
        n = syscall(SYS_sendto, <long>fd, <void *>(text + start), size, <long>MSG_NOSIGNAL, <void *>NULL, <long>0)
        if n >= 0:
            return <int>n
        if errno == EINTR:
            continue
        if errno == EAGAIN:
            return -1
        return -2


cpdef inline int ready_fd(int i) noexcept:
    return ready[i].data.fd


cpdef inline int ready_events(int i) noexcept:
    return <int>ready[i].events


cpdef inline void load(int at, bytes source) noexcept:
    memcpy(data + at, PyBytes_AS_STRING(source), PyBytes_GET_SIZE(source))


cpdef inline bytes piece(int start, int stop):
    return PyBytes_FromStringAndSize(<char *>data + start, stop - start)


cpdef inline const unsigned char *raw(int start, int stop) noexcept:
    return data + start


cpdef inline bint same(int start, int stop, bytes known) noexcept:
    return stop - start == PyBytes_GET_SIZE(known) and memcmp(data + start, PyBytes_AS_STRING(known), stop - start) == 0


cpdef inline int slot(int start, int stop) noexcept:
    cdef unsigned long long h = stop - start
    cdef unsigned long long word = 0
    while start < stop:
        if stop - start < 8:
            start = max(0, stop - 8)  # the last eight bytes, some of them once more
        memcpy(&word, data + start, 8)
        h = (h ^ word) * <unsigned long long>0x9E3779B97F4A7C15
        h ^= h >> 32
        start += 8
    return <int>(h >> 58)


cpdef inline int find_zero(int start, int stop) noexcept:
    cdef void *at
    if start >= stop:
        return -1
    at = memchr(data + start, 0, stop - start)
    if at == NULL:
        return -1
    return <int>(<unsigned char *>at - data)


cpdef inline double clock() noexcept:
    cdef timespec t
    clock_gettime(CLOCK_MONOTONIC, &t)
    return t.tv_sec + t.tv_nsec * 1e-9


cpdef inline int byte(int i) noexcept:
    return data[i]


cpdef inline long long u32(int i) noexcept:
    cdef unsigned int word
    memcpy(&word, data + i, 4)
    return ntohl(word)
