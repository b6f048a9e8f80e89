"""currval and lastval: what nextval returned last in a session, which only the server knows on which it was called.

Any insert may call nextval unseen, and nothing is added to an insert for it. So it is decided by those who read:

    nobody else's   a server that comes to another client has `MIXED` values. Where a pool has readers, DISCARD SEQUENCES goes
                    ahead of the first message (`Reader.take`); where it was not known to have any, ahead of the first text that
                    may read, in the middle of a transaction if need be: a value may be lost, and PostgreSQL says so (55000).
                    Who may read waits for that to be done (`Requester.must_clear`); for all others it may as well have failed.
    its own         an application that reads in one transaction what another one left is a reader (`sequence_readers`). Its
                    clients hold their server after whatever may have called nextval, until others need it (`holding`). After
                    the read they hold it still, but give it up first.

Values count only on the server that the client had in its last transaction: on one it had before, they are out of date.
"""

from __future__ import annotations

import re
from typing import Any

from pgpool_py.relay.server import Server
from pgpool_py.relay.upkeep import MIXED, UNMIXED
from pgpool_py.session import flags
from pgpool_py.session.inline import command

DISCARD = b"DISCARD SEQUENCES"
IDLE, FAILED = ord("I"), ord("E")
READS = flags.READS_VALUES
WRITES = flags.WRITES_VALUES
NAMED = re.compile(rb"lastval|currval", re.IGNORECASE)  # what makes unread code a reader
# What a client has on its server, `Client.values`: of so many transactions that may have called nextval since it read; or these.
NONE, READ = 0, -1
NEVER_READ = 10  # who has so many does not read what he writes
APPLICATION = b"application_name"
# What goes out instead of a text in an aborted transaction block that might end it and then read: PostgreSQL refuses it unread.
ABORTED = (None, "25P02", "current transaction is aborted, commands ignored until end of transaction block")


def before(client: Any, server: Server, verdict: int, text: bytes) -> bytes | None:
    """A text that may read or write sequence values goes to the server, and is *text* if it is opaque: what goes ahead of it."""
    context = client.context
    ahead = None
    if verdict & READS:
        begins = server.ready and server.status == IDLE
        reader = verdict & flags.READS_SEQUENCE
        named = reader and (not verdict & flags.OPAQUE or NAMED.search(text) is not None)
        if server.sequence_mixed == MIXED:
            ahead = discard(server)
        if named and (begins or context.reads_sequences) and not client.wrote:
            context.sequence_reader(application(client))
        if named or (reader and not begins):
            context.sequences_read()
        if named and (client.values or verdict & WRITES):
            client.values = READ
            client.value_since = client.relay.now
    if verdict & WRITES:
        if client.values == READ:
            client.values = READ if verdict & READS else 1
        elif not client.wrote:
            client.values += 1
        client.wrote = True
    return ahead


def discard(server: Server) -> bytes | None:
    """What makes a server forget all sequence values in the middle of a batch, and fails it if that fails; None where the
    transaction has failed. Whether it will be carried out is not known, so the server counts as what it was."""
    return None if cannot_clear(server) else command(server, DISCARD)


def cannot_clear(server: Server) -> bool:
    """Whether others' values are on the server, and the transaction has failed: it must be ended first, by itself."""
    failed: bool = server.ready and server.status == FAILED
    return failed and server.sequence_mixed == MIXED


def application(client: Any) -> bytes:
    """What the client calls itself."""
    name: bytes = client.settings.values.get(APPLICATION, b"")
    return name


def wanted(client: Any, server: Server) -> bool:
    """Whether somebody may want to read, later on, what the client has on this server."""
    return server.sequence_mixed == UNMIXED and application(client) in client.context.sequence_readers


def spare(client: Any) -> bool:
    """Whether it has been read already, or does not look as if it would be."""
    return bool(client.values == READ or client.values > NEVER_READ)


def ended(client: Any) -> None:
    """The transaction that may have called nextval is over: what is read from now on is an earlier one's."""
    client.wrote = False
    client.value_since = client.relay.now


def forget(client: Any, server: Server) -> bool:
    """The client's own DISCARD ALL was carried out: whether it has no more values."""
    if server.expected.size() > 1:
        return False  # something went out behind it
    client.values = NONE
    return True
