# The hot system calls and the shared buffer, in C.  See _io.py for what each function does.
cpdef int recv(int fd, int at) noexcept
cpdef int send(int fd, int start, int stop) noexcept
cpdef int send_bytes(int fd, bytes source, int start) noexcept
cpdef int wait(int epoll, int milliseconds) noexcept
cpdef int ready_fd(int i) noexcept
cpdef int ready_events(int i) noexcept
cpdef void load(int at, bytes source) noexcept
cpdef bytes piece(int start, int stop)
cpdef int find_zero(int start, int stop) noexcept
cpdef double clock() noexcept
cpdef int byte(int i) noexcept
cpdef long long u32(int i) noexcept
