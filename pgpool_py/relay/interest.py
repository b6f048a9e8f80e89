"""What the relay asks epoll for, and what epoll says without being asked.

Not a hot module: the hot ones take these over as C integers of their own.
"""

from __future__ import annotations

import select

READ = select.EPOLLIN
WRITE = select.EPOLLOUT
GONE = select.EPOLLERR | select.EPOLLHUP  # the peer has reset the connection, or nobody is there: wanted or not
