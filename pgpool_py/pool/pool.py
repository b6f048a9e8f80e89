"""Who gets which server: one pool for each (database entry, user).

Hot: acquire and release run once per transaction each. Compiled by Cython with pool.pxd beside it;
tests/pool/test_speed.py guards the cost of the pair. The cases "an idle server is there" and "nobody waits"
touch two lists and a few attributes; everything rarer is behind one flag, `special`, kept by refresh().

A pool is a set of servers, each in exactly one list, and a queue of clients. It decides and does no I/O: time
comes in as an argument, what is to be done goes out as a result or as actions (actions.py). By rising
pressure:

    idle servers    the client's last server, else the most recently used (server_round_robin: the least)
    none idle       the client waits at the tail; a USED server is checked, or the pool grows up to pool_size
    pool full       a server handed back goes to the client at the head at once; after reserve_pool_timeout
                    the pool grows by reserve_pool_size
    pins end        servers beyond the pool's size stay for a while, for the next pins (surplus.py)
    shared limit    an idle server of another pool is closed, or a busy pool gives a place up (limits.py)
    logins fail     clients that come meanwhile get the cached error while no server is alive (growth.py)

Fair means: nobody overtakes in the queue, and no client gets a server while another one of its pool waits.

The caller's duty:
- release only a server that is clean, outside a transaction, owed nothing; then look at server.state
  (CLOSED: close it; USED: it wants a check);
- call activate whenever acquire returned None, release left a server USED or CLOSED, or a server or a
  connection attempt was lost. A forgotten call costs a third of a second, until the next tick;
- to replace idle servers call reconnect; an idle server found dead goes to server_lost.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from pgpool_py.pool import growth, held, janitor, surplus
from pgpool_py.pool.actions import Action, CloseServer, FailClient
from pgpool_py.pool.limits import Limit, owed_place
from pgpool_py.pool.line import Line
from pgpool_py.pool.settings import PoolSettings
from pgpool_py.pool.states import ClientState, ServerState
from pgpool_py.seam import Dispenser, Member

_CLIENT_IDLE = ClientState.IDLE
_CLIENT_ACTIVE = ClientState.ACTIVE
_CLIENT_WAITING = ClientState.WAITING
_ACTIVE = ServerState.ACTIVE
_IDLE = ServerState.IDLE


class Pool(Dispenser):
    def __init__(
        self, database: str, user: str, settings: PoolSettings, limits: tuple[Limit, ...] = ()
    ) -> None:
        # identity
        self.database = database
        self.user = user
        self.settings = settings
        self.limits = limits

        # lists of servers: oldest entry first, removal from anywhere
        self.active = Line()
        self.pinned = Line()  # outside the pool's size, within its shared limits
        self.surplus = Line()  # outside the pool's size, too; see surplus.py
        self.idle = Line()
        self.used = Line()
        self.tested = Line()
        self.being_canceled = Line()
        self.held: dict[Member, held.Holding] = {}  # of active and pinned, the longest held first; see held.py
        self.promised: set[Member] = set()  # clients that may pin their server, see promise_pin
        self.look_again_at = -math.inf  # before this nobody needs to be asked to, see held.make_room
        self.connecting = 0  # NEW: launched, neither connected nor failed yet

        # clients
        self.clients: set[Member] = set()  # all that joined, waiting or not
        self.waiting = Line()  # oldest first

        # what makes release look closer
        self.special = False  # any of the reasons in refresh() holds
        self.lifetime_due = math.inf  # before this no server can be too old
        self.paused = False
        self.blocked = False  # our clients wait because of a limit
        self.contended = False  # clients of another pool wait because of a limit shared with us
        self.full_size = 0  # pool_size as of the last settings_changed
        self.round_robin = False

        # memory of the past
        self.last_lifetime_disconnect = -math.inf
        self.reconnected_at = -math.inf  # connections started before this are obsolete
        self.login_failed_since = math.inf  # inf: the last login succeeded
        self.last_login_failure = -math.inf
        self.login_error = ""
        self.ever_connected = False
        self.has_pinned = False  # of late: where it has more servers than its size, that is why

        # counters
        self.server_assignment_count = 0
        self.wait_time = 0.0  # of all clients that have stopped waiting, seconds

        for limit in limits:
            limit.pools.append(self)
        self.see_limits()
        self.settings_changed()

    # --- hot path -----------------------------------------------------------------------------------------

    def acquire(self, client: Member, now: float) -> Member | None:
        """The server the client may use at once, or None: it waits."""
        # Nobody is overtaken here: while anybody waits, or in a pause, no usable server is in idle.
        idle = self.idle
        if not idle.size:
            return self._wait(client, now)
        server: Member | None = client.last_server
        if server is None or server.state is not _IDLE or server.pool is not self:
            server = idle.end.behind if self.round_robin else idle.end.ahead
        if server.close_needed:
            return self._acquire_other(client, now)
        client.last_server = server
        idle.hand_on(server, self.active)
        server.state = _ACTIVE
        client.state = _CLIENT_ACTIVE
        self.server_assignment_count += 1
        return server

    def release(self, server: Member, now: float) -> Member | None:
        """Take *server* back: the waiting client that has it now, or None; server.state tells the rest."""
        if self.special or now >= self.lifetime_due or server.close_needed or server.state is not _ACTIVE:
            return self._release_special(server, now)
        server.request_time = now
        if self.waiting.size:
            return self.hand_over(server, now)
        self.active.hand_on(server, self.idle)
        server.state = _IDLE
        return None

    # --- acquire and release, the rarer cases -------------------------------------------------------------

    def _acquire_other(self, client: Member, now: float) -> Member | None:
        """As acquire, after it met an idle server that may not be used again; the janitor closes that one."""
        for server in reversed(self.idle):
            if not server.close_needed:
                self.move(server, _ACTIVE)
                client.last_server = server
                client.state = _CLIENT_ACTIVE
                self.server_assignment_count += 1
                return server
        return self._wait(client, now)

    def _wait(self, client: Member, now: float) -> Member | None:
        if client.behind is not None:
            raise RuntimeError(f"client waits already in {self!r}")
        client.state = _CLIENT_WAITING
        client.wait_start = now
        self.waiting.append(client)
        return None

    def _release_special(self, server: Member, now: float) -> Member | None:
        # Three cases, in order: it must not live on or its place is owed to another pool, it must be checked after
        # each use, nothing special after all.
        if server.state is not _ACTIVE and server.state is not ServerState.TESTED:
            raise RuntimeError(f"released a server that is {server.state} in {self!r}")
        was_active = server.state is _ACTIVE
        server.request_time = now
        if self.life_over(server, now):
            self.last_lifetime_disconnect = now
            self.remove(server)
        elif server.close_needed or self.paused or (self.contended and owed_place(self, server, now) is not None):
            self.remove(server)
        elif self.over_size() > 0:
            if surplus.may_keep(self):
                self.move(server, ServerState.SURPLUS)
            else:
                self.remove(server)
        elif was_active and self.settings.server_check_delay <= 0 and self.settings.server_check_query:
            self.move(server, ServerState.USED)
        else:
            return self._give_or_keep(server, now)
        return None

    def _give_or_keep(self, server: Member, now: float) -> Member | None:
        if self.waiting:
            return self.hand_over(server, now)
        self.move(server, _IDLE)
        return None

    def hand_over(self, server: Member, now: float) -> Member:
        client: Member = self.waiting.end.behind
        self.waiting.remove(client)
        self.wait_time += now - client.wait_start
        if server.state is not _ACTIVE:
            self.move(server, _ACTIVE)
        client.last_server = server
        client.state = _CLIENT_ACTIVE
        self.server_assignment_count += 1
        if self.blocked and not self.waiting.size:
            self.unblock()
        return client

    def life_over(self, server: Member, now: float) -> bool:
        """Whether server_lifetime has passed and this pool's last such close is long enough ago."""
        lifetime = self.settings.server_lifetime
        if now - server.connect_time < lifetime:
            return False
        return now - self.last_lifetime_disconnect >= self._lifetime_gap()

    def _lifetime_gap(self) -> float:
        """Seconds between two such closes: a pool that grew at once must not reconnect at once, for ever."""
        size = self.settings.pool_size
        return self.settings.server_lifetime / size if size > 0 else 0.0

    # --- servers that come, go, and are not to be handed out for a while ----------------------------------

    def server_connected(self, server: Member, now: float) -> Member | None:
        """Take in a server that finished its login; like release."""
        self._connect_ended()
        self.login_failed_since = math.inf
        self.login_error = ""
        self.ever_connected = True
        server.pool = self
        server.request_time = now
        if server.connect_time < self.reconnected_at:
            server.close_needed = True
        over = self.over_size() >= 0
        if server.close_needed or self.paused or (over and not surplus.may_keep(self)):
            server.state = ServerState.CLOSED
            self._count_out()
            return None
        if over:
            self.surplus.append(server)
            server.state = ServerState.SURPLUS
            return None
        self.lifetime_due = min(self.lifetime_due, server.connect_time + self.settings.server_lifetime)
        self.idle.append(server)
        server.state = _IDLE
        if self.waiting:
            return self.hand_over(server, now)
        return None

    def connect_failed(self, error_message: str, now: float, *, hopeless: bool = False) -> None:
        """A launched connection failed before or during its login; *hopeless*: nobody needs to wait for a better answer."""
        self._connect_ended()
        self._count_out()
        if hopeless:
            self.login_failed_since = -math.inf
        elif self.login_failed_since == math.inf:
            # Clients that waited before a working pool lost its servers keep waiting (a server restarts);
            # where no login ever succeeded there is nothing to wait for.
            self.login_failed_since = now if self.ever_connected else -math.inf
        self.last_login_failure = now
        self.login_error = error_message or "connect failed"

    def server_lost(self, server: Member, now: float) -> None:
        """Forget a server whose connection is gone or must be closed, whatever state it is in."""
        if server.state is not ServerState.CLOSED:
            self.remove(server)

    def begin_reset(self, server: Member) -> None:
        """The caller resets or checks an ACTIVE server before it releases it."""
        if server.state is not _ACTIVE:
            raise RuntimeError(f"reset of a server that is {server.state} in {self!r}")
        self.move(server, ServerState.TESTED)

    def pin(self, server: Member, client: Member | None = None) -> bool:
        """Leave an ACTIVE server to its client for as long as only it can keep that client's session; False: no more of
        them (pin_pool_size). *client*: who may have been promised it. Call activate afterwards: the pool has a place more."""
        if not self.may_pin(client):
            return False
        if len(self.pinned) >= self.settings.pin_pool_size and not held.yield_pin(self):
            return False
        self.has_pinned = True
        self.move(server, ServerState.PINNED)
        self.refresh()
        return True

    def unpin(self, server: Member) -> None:
        """A pinned server is like any other again; surplus where the pool has grown full meanwhile."""
        self.move(server, _ACTIVE)
        self.refresh()

    def may_pin(self, client: Member | None = None) -> bool:
        """Whether `pin` would find a place now, for *client* or for anybody."""
        return held.pins_taken(self, client) < self.settings.pin_pool_size

    def promise_pin(self, client: Member) -> bool:
        """Whether *client*, which holds a server, may pin it at the end of its transaction: nobody else takes that place then."""
        if not self.may_pin(client):
            return False
        self.promised.add(client)
        return True

    def hold(self, server: Member, since: float, spare: bool) -> bool:
        """Leave an ACTIVE or PINNED server to its client, between transactions, until others need it; *spare*: rather than
        another one. False: others have a better claim to it."""
        return held.hold(self, server, since, spare)

    def work(self, server: Member) -> None:
        """The client that holds *server* begins a transaction."""
        holding = self.held.get(server)
        if holding is not None:
            holding.busy = True

    def unhold(self, server: Member) -> None:
        """A held server is like any other again."""
        held.unhold(self, server)

    def exchange(self, client: Member, server: Member, other: Member) -> None:
        """*client*, which just acquired *server*, takes the idle *other* instead."""
        self.move(server, _IDLE)
        self.move(other, _ACTIVE)
        client.last_server = other

    def wait_first(self, client: Member, now: float) -> None:
        """*client* gives up what it acquired, and waits at the head of the queue."""
        self._wait(client, now)
        self.waiting.remove(client)
        first = self.waiting.first()
        if first is not None:
            client.wait_start = first.wait_start
        self.waiting.prepend(client)

    # --- clients that come and go -------------------------------------------------------------------------

    def client_joined(self, client: Member) -> None:
        """A client logged in: min_pool_size holds while there is one."""
        self.clients.add(client)

    def client_gone(self, client: Member, now: float) -> None:
        """The client disconnected, waiting or not. A server it holds is released or lost separately."""
        self.clients.discard(client)
        self.promised.discard(client)
        self.stop_waiting(client, now)

    def stop_waiting(self, client: Member, now: float) -> bool:
        """Take the client out of the queue if it is there."""
        if client.behind is None:
            return False
        self.waiting.remove(client)
        self.wait_time += now - client.wait_start
        client.state = _CLIENT_IDLE
        if not self.waiting:
            self.unblock()
        return True

    def max_wait(self, now: float) -> float:
        """How long the client at the head of the queue has waited; 0.0 without one."""
        client = self.waiting.first()
        return 0.0 if client is None else now - client.wait_start

    # --- what is to be done now ---------------------------------------------------------------------------

    def may_grow(self) -> bool:
        """Whether `activate` may have something to do for a client that has to wait; a full pool answers at once."""
        if self.idle or self.used or self.login_error or self.paused or self.held:
            return True
        if 0 < self.full_size <= self.places_taken() and not self.contended:
            return False
        # Blocked: the pool that releases next will give way, see limits.owed_place. The reserve is left to tick.
        return not (self.blocked and self._at_a_limit())

    def activate(self, now: float) -> list[Action]:
        """Serve the queue of this pool and of pools blocked by its limits: checks, launches, evictions."""
        if not self.may_grow():
            return []
        return growth.activate(self, now)

    def _at_a_limit(self) -> bool:
        return any(limit.full for limit in self.limits)

    def wants_launch(self, now: float) -> bool:
        """Whether it would launch for a waiting client if no shared limit stood in the way."""
        return growth.wants_launch(self, now)

    def tick(self, now: float) -> list[Action]:
        """Maintenance, about three times a second, then activate."""
        actions = janitor.maintain(self, now)
        actions.extend(growth.activate(self, now))
        return actions

    # --- orders from above --------------------------------------------------------------------------------

    def pause(self) -> list[Action]:
        """Hand out nothing more; idle servers are closed now, active ones as they are released."""
        self.paused = True
        self.unblock()
        self.refresh()
        actions = self.close_unused("pause mode")
        held.give_up_all(self, actions)
        return actions

    def resume(self, now: float) -> list[Action]:
        """Serve again, first those who waited."""
        self.paused = False
        self.refresh()
        return self.activate(now)

    def reconnect(self, now: float, reason: str = "database configuration changed") -> list[Action]:
        """Replace every server: unused ones are closed now, for *reason*, the others as they are released."""
        self.reconnected_at = now
        for server in self.servers():
            server.close_needed = True
        actions = self.close_unused(reason)
        held.give_up_all(self, actions)
        actions.extend(self.activate(now))
        return actions

    def kill(self, reason: str, now: float) -> list[Action]:
        """Drop all servers, active ones too, and all who wait. Connections being started still report."""
        actions = self.fail_waiting(reason, now)
        for server in list(self.servers()):
            self.remove(server)
            actions.append(CloseServer(server, reason))
        return actions

    def fail_waiting(self, message: str, now: float) -> list[Action]:
        """Send everybody in the queue away."""
        actions: list[Action] = []
        for client in list(self.waiting):
            self.stop_waiting(client, now)
            actions.append(FailClient(client, message))
        return actions

    def settings_changed(self) -> None:
        """Take over what a reload wrote into self.settings."""
        self.round_robin = self.settings.server_round_robin
        self.full_size = self.settings.pool_size
        oldest = min((server.connect_time for server in self.servers()), default=math.inf)
        self.lifetime_due = max(
            oldest + self.settings.server_lifetime, self.last_lifetime_disconnect + self._lifetime_gap()
        )
        self.refresh()

    # --- lists and counts ---------------------------------------------------------------------------------

    def _list(self, state: ServerState) -> Line:
        lists = {
            ServerState.ACTIVE: self.active,
            ServerState.PINNED: self.pinned,
            ServerState.SURPLUS: self.surplus,
            ServerState.IDLE: self.idle,
            ServerState.USED: self.used,
            ServerState.TESTED: self.tested,
            ServerState.BEING_CANCELED: self.being_canceled,
        }
        return lists[state]

    def move(self, server: Member, state: ServerState) -> None:
        """Move a server from the list of its state to the tail of another."""
        self._list(server.state).hand_on(server, self._list(state))
        server.state = state

    def remove(self, server: Member) -> None:
        """Take a server out of the pool; its place is free from now on."""
        self._list(server.state).remove(server)
        self.held.pop(server, None)
        server.state = ServerState.CLOSED
        self._count_out()

    def close_unused(self, reason: str) -> list[Action]:
        """Close the servers that nobody uses."""
        actions: list[Action] = []
        for server in [*self.surplus, *self.used, *self.idle]:
            self.remove(server)
            actions.append(CloseServer(server, reason))
        return actions

    def count_in(self) -> None:
        """A connection is being started."""
        self.connecting += 1
        for limit in self.limits:
            limit.count += 1

    def _count_out(self) -> None:
        for limit in self.limits:
            limit.count -= 1

    def _connect_ended(self) -> None:
        if self.connecting <= 0:
            raise RuntimeError(f"no connection was launched for {self!r}")
        self.connecting -= 1

    def unblock(self) -> None:
        """Nobody here waits because of a shared limit any more."""
        if self.blocked:
            for limit in self.limits:
                limit.unblock(self)

    def see_limits(self) -> None:
        """Who is blocked by our limits has changed."""
        self.blocked = any(self in limit.blocked for limit in self.limits)
        self.contended = any(limit.blocked_besides(self) for limit in self.limits)
        self.refresh()

    def servers(self) -> Iterator[Member]:
        """All servers, list by list; those still connecting have no object."""
        for servers in (self.active, self.pinned, self.surplus, self.idle, self.used, self.tested, self.being_canceled):
            yield from servers

    def connected_count(self) -> int:
        """Servers that finished their login and count for the pool's size."""
        return (
            self.active.size + self.idle.size + self.used.size + self.tested.size + self.being_canceled.size
        )

    def places_taken(self) -> int:
        """Servers that count for the pool's size, those still connecting included."""
        return self.connected_count() + self.connecting

    def server_count(self) -> int:
        """All servers, those still connecting and those outside the pool's size included."""
        return self.places_taken() + self.pinned.size + self.surplus.size

    def over_size(self) -> int:
        """Connected servers above pool_size and reserve; negative: so many places are left."""
        settings = self.settings
        if settings.pool_size <= 0:
            return -1
        return self.connected_count() - settings.pool_size - settings.reserve_pool_size

    def refresh(self) -> None:
        """Work `special` out again: whether release has more to look at than the server itself."""
        settings = self.settings
        self.special = bool(
            self.paused
            or self.contended
            or (settings.server_check_delay <= 0 and settings.server_check_query)
            or self.over_size() > 0
        )

    def __repr__(self) -> str:
        """For example <Pool app/web 3/20: 2 active, 1 new; 4 waiting; paused>."""
        parts = [
            f"{count} {state}"
            for state, count in (
                ("active", len(self.active)),
                ("pinned", len(self.pinned)),
                ("surplus", len(self.surplus)),
                ("idle", len(self.idle)),
                ("used", len(self.used)),
                ("tested", len(self.tested)),
                ("being_canceled", len(self.being_canceled)),
                ("new", self.connecting),
            )
            if count
        ]
        size = self.settings.pool_size if self.settings.pool_size > 0 else "unlimited"
        text = f"{self.database}/{self.user} {self.places_taken()}/{size}"
        if parts:
            text += ": " + ", ".join(parts)
        if self.waiting:
            text += f"; {len(self.waiting)} waiting"
        if self.paused:
            text += "; paused"
        if self.login_error:
            text += f"; logins fail: {self.login_error}"
        return f"<Pool {text}>"
