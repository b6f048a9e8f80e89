"""A client as one whose requests can be cancelled: what a cancel request is for, and when that is where it can be hit.

Only what the client itself has said is hit, not the pooler's own work on the server, nor what has ended. Until that is at the
server the cancel is due, and the request is not answered; what waits for a server is answered here.
"""

from __future__ import annotations

import select

from pgpool_py.relay.reading import Reader
from pgpool_py.relay.replies import error_response, ready_for_query
from pgwire.codes import Frontend
from pgwire.expected import Action, Owed

IDLE = ord("I")
QUERY = int(Frontend.QUERY)
FUNCTION_CALL = int(Frontend.FUNCTION_CALL)
OWN_QUERY = int(Owed.QUERY + Action.SKIP)


class Canceler(Reader):
    """See the module; its attributes are Reader's."""

    def cancel(self) -> bool:
        """Act on a cancel request; True when it must go to the server that is held."""
        server = self.server
        if server is not None:
            if not server.ready and server.expected.head() != OWN_QUERY:
                return True
            # Not for the pooler's own question, nor for what has ended though its ReadyForQuery is held back, but for what
            # it has said meanwhile, which may wait for the listening connection, or not be read yet.
            runs = bool(self.query_start) and not self.held
            self.cancel_due = self.kept is not None or runs or is_readable(self.fd)
            return False
        if self.state is self.relay.client_waiting_state and self.kept is not None:
            self.cancel_waiting()
        return False

    def cancel_now(self) -> None:
        server = self.server
        if not self.cancel_due or (server is not None and server.expected.head() == OWN_QUERY):
            return
        if server is not None and not server.ready:
            self.cancel_due = False
            self.relay.broker.cancel_server(server, self)
        elif server is None and self.kept is not None and self.state is self.relay.client_waiting_state:
            self.cancel_waiting()
        else:
            # It waits still, or comes with what is read next.
            self.cancel_due = self.kept is not None or is_readable(self.fd)

    def cancel_waiting(self) -> None:
        """Answer the request that waits for a server."""
        self.pool.stop_waiting(self, self.relay.now)
        self.refuse_request("57014", "canceling statement due to user request")

    def refuse_request(self, code: str, message: str) -> None:
        """Answer the request that waits with an error; what follows its end goes on."""
        data = self.kept
        self.kept = None
        self.cancel_due = False
        self.send_data(error_response("ERROR", code, message))
        if data is None:
            return
        if data[0] == QUERY or data[0] == FUNCTION_CALL:
            self.send_data(ready_for_query(IDLE))
            end = 1 + int.from_bytes(data[1:5], "big")
            if end > len(data):
                self.passing = end - len(data)
                data = b""
            else:
                data = data[end:]
        else:
            self.skipping = True
        self.kept = data
        self.go_on()


def is_readable(fd: int) -> bool:
    """Whether something has arrived that nobody has read."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(0))
