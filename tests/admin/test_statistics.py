"""The numbers of SHOW STATS, CLIENTS, SERVERS and POOLS are true, and so is the line of log_stats."""

from __future__ import annotations

import re

from tests.admin.conftest import Pooler, Start
from tests.system import stack, wire
from tests.system.stack import wait_until


def stats(pooler: Pooler, database: str) -> dict[str, int]:
    row = next(row for row in pooler.show("STATS") if row["database"] == database)
    return {name: int(str(value)) for name, value in row.items() if name != "database"}


def test_counts_are_exact(start_pooler: Start) -> None:
    """Five transactions of two databases, prepared statements, bytes: each counted once, and where it belongs."""
    pooler = start_pooler()
    with pooler.connect("one") as client, pooler.connect("two") as other:
        client.query("select 1")
        client.query("begin")
        client.query("select 2")
        client.query("commit")
        client.exchange(wire.parse("named", "select 3"), wire.bind("", "named"), wire.execute(), wire.sync())
        client.exchange(wire.bind("", "named"), wire.execute(), wire.sync())
        other.query("select 4")
        one, two = stats(pooler, "one"), stats(pooler, "two")
    assert (one["total_xact_count"], one["total_query_count"]) == (4, 6)
    assert (two["total_xact_count"], two["total_query_count"]) == (1, 1)
    assert (one["total_client_parse_count"], one["total_server_parse_count"], one["total_bind_count"]) == (1, 1, 2)
    assert one["total_client_login_count"] == 1
    assert one["total_server_assignment_count"] >= 4
    assert two["total_received"] == len(wire.query("select 4"))
    assert two["total_sent"] > 30


def test_session_mode_counts_transactions_too(pooler: Pooler) -> None:
    with pooler.connect("session") as client:
        for _ in range(3):
            client.query("select 1")
        client.query("begin")
        assert stats(pooler, "session")["total_xact_count"] == 3


def test_times_are_of_queries_and_transactions(start_pooler: Start) -> None:
    """Idle in a transaction is transaction time and no query time; waiting is neither."""
    pooler = start_pooler()
    with pooler.connect("one") as client, pooler.connect("one") as waiting:
        client.query("begin")
        waiting.send(wire.query("select 1"))
        stack.wait_taken(waiting)
        wait_until(lambda: pools(pooler, "one")["maxwait_us"] > 0, "the wait is shown")
        client.query("select pg_sleep(0.2)")
        held = longest_hold(pooler)
        wait_until(lambda: longest_hold(pooler) - held > 200_000, "some time has passed, idle in the transaction")
        before = stats(pooler, "one")
        client.query("commit")
        waiting.until("Z")
        after = stats(pooler, "one")
    assert before["total_xact_time"] == 0 and before["total_query_time"] >= 200_000
    assert after["total_xact_time"] - after["total_query_time"] >= 200_000
    assert after["total_wait_time"] - before["total_wait_time"] >= 200_000


def longest_hold(pooler: Pooler) -> int:
    return max(int(str(row["longest_hold_us"])) for row in pooler.show("TOP"))


def pools(pooler: Pooler, database: str) -> dict[str, int]:
    row = next(row for row in pooler.show("POOLS") if row["database"] == database)
    return {name: value for name, value in row.items() if isinstance(value, int)}


def test_averages_follow_what_happened(start_pooler: Start) -> None:
    """avg_ is a second's share of the last period or two; times are for each query."""
    pooler = start_pooler({"log_stats": 1})
    with pooler.connect("one") as client:
        client.query("select pg_sleep(0.1)")
        assert stats(pooler, "one")["avg_query_time"] >= 100_000
        for _ in range(50):
            client.query("select 1")
        assert stats(pooler, "one")["avg_query_count"] >= 1
        pooler.order("SET stats_period = 1")
        wait_until(lambda: stats(pooler, "one")["avg_query_count"] == 0, "two quiet periods are over")
    line = pooler.wait_for_log(r"stats: .*").group()
    number = r"\d+"
    assert re.fullmatch(
        f"stats: {number} xacts/s, {number} queries/s, {number} client parses/s, {number} server parses/s, {number} binds/s,"
        f" in {number} B/s, out {number} B/s, xact {number} us, query {number} us, wait {number} us",
        line,
    )


def test_averages_of_a_busy_second(start_pooler: Start) -> None:
    """The totals and the averages of TOTALS are those of all databases together."""
    pooler = start_pooler()
    with pooler.connect("one") as client, pooler.connect("two") as other:
        client.query("select 1")
        other.query("select 1")
        totals = {row["name"]: int(str(row["value"])) for row in pooler.show("TOTALS")}
        rows = pooler.show("STATS_TOTALS")
    databases = {str(row["database"]): int(str(row["query_count"])) for row in rows}
    assert databases["one"] == databases["two"] == 1
    assert totals["total_query_count"] >= databases["one"] + databases["two"]


def test_pools_say_who_waits(pooler: Pooler) -> None:
    with pooler.connect("one") as busy, pooler.connect("one") as waiting:
        busy.query("begin")
        waiting.send(wire.query("select 1"))
        stack.wait_taken(waiting)
        row = pools(pooler, "one")
        assert (row["cl_active"], row["cl_waiting"], row["sv_active"], row["sv_idle"]) == (1, 1, 1, 0)
        clients = {str(row["state"]): row for row in pooler.show("CLIENTS") if row["database"] == "one"}
        assert set(clients) == {"active", "waiting"}
        assert int(str(clients["waiting"]["wait_us"])) + int(str(clients["waiting"]["wait"])) > 0
        busy.query("commit")
        waiting.until("Z")
        assert pools(pooler, "one")["sv_idle"] == 1


def test_clients_and_servers_name_each_other(pooler: Pooler) -> None:
    """`link` is the other's `ptr`, and `ptr` is the name in the log; pids and ports are the real ones."""
    with pooler.connect("one", application_name="linked") as client:
        client.query("begin")
        pid = client.ask("select pg_backend_pid()")
        (mine,) = [row for row in pooler.show("CLIENTS") if row["application_name"] == "linked"]
        (server,) = [row for row in pooler.show("SERVERS") if row["database"] == "one"]
        assert (mine["link"], server["link"]) == (server["ptr"], mine["ptr"])
        assert (mine["state"], server["state"]) == ("active", "active")
        assert str(server["remote_pid"]) == pid
        assert (mine["port"], mine["local_port"]) == (client.sock.getsockname()[1], pooler.port)
        assert (server["addr"], server["port"]) == (pooler.server.host, pooler.server.port)
        assert f"C-{mine['ptr']}: one/" in pooler.log and f"S-{server['ptr']}: one/" in pooler.log
        client.query("commit")
        assert [row["state"] for row in pooler.show("CLIENTS") if row["application_name"] == "linked"] == ["idle"]


def test_limits_and_users_are_counted(start_pooler: Start) -> None:
    pooler = start_pooler(
        databases={"two": "pool_size=2 max_db_connections=3 max_db_client_connections=4 pool_mode=session"},
        users={stack.OWNER: "pool_size=4 max_user_connections=9 pool_mode=statement"},
    )
    with pooler.connect("two") as client:
        client.query("select 1")
        (two,) = [row for row in pooler.show("DATABASES") if row["name"] == "two"]
        (owner,) = [row for row in pooler.show("USERS") if row["name"] == stack.OWNER]
    assert [two[name] for name in ("max_connections", "current_connections", "max_client_connections")] == [3, 1, 4]
    assert (two["current_client_connections"], two["pool_mode"], two["database"]) == (1, "session", stack.DATABASE)
    assert (owner["pool_size"], owner["reserve_pool_size"], owner["pool_mode"]) == ("        4", "", "statement")
    assert (owner["max_user_connections"], owner["current_connections"], owner["current_client_connections"]) == (9, 1, 1)
