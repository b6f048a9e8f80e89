"""Starting and running the process as PgBouncer is: flags, background, pid file, users, log files."""

from __future__ import annotations

import os
import pwd
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pgpool_py.testing.pooler import own_environment
from pgpool_py.testing.process import child_environment
from pgpool_py.version import VERSION_LINE
from tests.operations.conftest import Program
from tests.system.rawclient import Address, RawClient, ServerError
from tests.system.stack import wait_until

DEV_LOG = Path("/dev/log")
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_daemon_runs_in_the_background(program: Program, ended: Callable[[int], None]) -> None:
    """-d returns when the pooler serves; the process has no terminal and is its file's; it takes the file along."""
    program.settings |= {"pidfile": "pid", "logfile": "log"}
    assert program.run("-d") == (0, "")
    pid = program.daemon_pid()
    assert program.pidfile.read_text() == f"{pid}\n"
    assert answers(program.port)
    assert os.getsid(pid) not in (pid, os.getsid(0))
    assert {os.readlink(f"/proc/{pid}/fd/{fd}") for fd in (0, 1, 2)} == {os.devnull}
    assert "process up" in program.log
    os.kill(pid, signal.SIGINT)
    ended(pid)
    assert not program.pidfile.exists()


def test_daemon_that_cannot_start_says_so(program: Program) -> None:
    """The exit code of -d is that of the start, and the terminal hears why."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        program.settings |= {"pidfile": "pid", "logfile": "log", "listen_port": taken.getsockname()[1]}
        code, output = program.run("-d")
    assert code == 1
    assert "cannot listen on 127.0.0.1" in output and "ddress already in use" in output
    assert not program.pidfile.exists()


def test_daemon_needs_a_pidfile(program: Program) -> None:
    code, output = program.run("-d")
    assert (code, output) == (1, "pgpool_py: daemon needs pidfile configured\n")


def test_pidfile_of_a_living_process_refuses(program: Program) -> None:
    """A second instance does not start, and the first one's file stays."""
    program.settings |= {"pidfile": "pid", "logfile": "log"}
    program.pidfile.write_text(f"{os.getpid()}\n")
    code, output = program.run()
    assert code == 1
    assert "pidfile exists, another instance running?" in output
    assert program.pidfile.read_text() == f"{os.getpid()}\n"


def test_stale_pidfile_is_removed(program: Program) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    program.settings |= {"pidfile": "pid", "logfile": "log"}
    program.pidfile.write_text(f"{dead.pid}\n")
    program.account.own(program.pidfile)
    process = program.start("-q")
    program.wait_for_log("process up")
    assert "stale pidfile, removing" in program.log
    assert program.pidfile.read_text() == f"{process.pid}\n"  # in the foreground, one process from beginning to end
    process.send_signal(signal.SIGINT)
    assert process.communicate(timeout=10)[0] == ""  # --quiet: not a word outside the log file
    assert not program.pidfile.exists()


def test_log_file_is_opened_again_on_reload(program: Program) -> None:
    """logrotate moves the file away and sends SIGHUP: what follows is in a new file."""
    program.settings |= {"logfile": "log"}
    process = program.start("-q")
    program.wait_for_log("process up")
    (program.directory / "log").rename(program.directory / "log.1")
    process.send_signal(signal.SIGHUP)
    program.wait_for_log("reload done")
    assert "process up" not in program.log


def test_log_file_that_cannot_be_written_fails_the_reload(program: Program) -> None:
    """All or nothing: the old file stays in use and says what is wrong, with file and line."""
    program.settings |= {"logfile": "log"}
    process = program.start("-q")
    program.wait_for_log("process up")
    program.settings |= {"logfile": "/nowhere/log", "max_client_conn": 7}
    program.write()
    process.send_signal(signal.SIGHUP)
    program.wait_for_log("RELOAD failed")
    assert "[pgbouncer] logfile: cannot write '/nowhere/log': No such file or directory" in program.log


def test_conffile_is_read_at_the_next_reload(program: Program) -> None:
    program.settings |= {"logfile": "log", "conffile": "other.ini"}
    process = program.start("-q")
    program.wait_for_log("process up")
    (program.directory / "other.ini").write_text("[pgbouncer]\nno_such_key = 1\n")
    program.account.own(program.directory / "other.ini")
    process.send_signal(signal.SIGHUP)
    program.wait_for_log("other.ini:2: [pgbouncer] no_such_key")


@as_root
def test_root_is_refused(program: Program) -> None:
    code, output = program.run(as_root=True)
    assert code == 1
    assert "should not run as root" in output


@as_root
@pytest.mark.parametrize("how", ["flag", "setting"])
def test_root_becomes_the_user(program: Program, how: str) -> None:
    """With all of that user's groups and none of root's; the flag goes before the setting."""
    program.settings |= {"logfile": "log", "pidfile": "pid", "user": "nobody" if how == "setting" else "no_such_user"}
    process = program.start("-q", *(["-u", "nobody"] if how == "flag" else []), as_root=True)
    program.wait_for_log("process up")
    account = pwd.getpwnam("nobody")
    status = dict(line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines())
    assert set(status["Uid"].split()) == {str(account.pw_uid)}
    assert set(status["Gid"].split()) == {str(account.pw_gid)}
    assert set(status["Groups"].split()) == {str(gid) for gid in os.getgrouplist("nobody", account.pw_gid)}
    assert (program.directory / "log").stat().st_uid == account.pw_uid


@as_root
def test_unknown_user_is_refused(program: Program) -> None:
    code, output = program.run("--user=no_such_user", as_root=True)
    assert code == 1
    assert "could not find user 'no_such_user' to switch to" in output


def test_becoming_somebody_else_needs_root(program: Program) -> None:
    code, output = program.run("--user=daemon")
    assert code == 1
    assert "failed to assume identity of user 'daemon': Operation not permitted" in output


def test_what_has_no_meaning_here_is_said_once(program: Program) -> None:
    """Settings of Windows and variables of libevent are accepted; a reload does not say it again."""
    program.settings |= {"logfile": "log", "service_name": "pool", "pkt_buf": 8192}
    process = program.start("-q", env={"EVENT_NOEPOLL": "1", "EVENT_SHOW_METHOD": "1"})
    program.wait_for_log("process up")
    process.send_signal(signal.SIGHUP)
    program.wait_for_log("reload done")
    for words in (
        "pgbouncer.ini:11: [pgbouncer] job_name: accepted, it has no meaning here: it names a Windows service",
        "[pgbouncer] pkt_buf: accepted, it has no meaning here: all connections share one buffer",
        "environment: EVENT_NOEPOLL: accepted, it has no meaning here: there is no libevent",
        "environment: EVENT_SHOW_METHOD: accepted, it has no meaning here: there is no libevent",
    ):
        assert program.log.count(words) == 1


def test_a_start_without_its_users(program: Program) -> None:
    """As PgBouncer: it serves, says what is wrong, and refuses whom it does not know, until a reload finds the file right."""
    program.settings |= {"logfile": "log", "auth_type": "plain", "auth_file": "users"}
    process = program.start("-q")
    program.wait_for_log("process up")
    assert '[pgbouncer] auth_file: cannot read "users": No such file or directory' in program.log
    with pytest.raises(ServerError, match="password authentication failed"):
        RawClient(Address("127.0.0.1", program.port), "pgbouncer", "ann", password="secret")
    process.send_signal(signal.SIGHUP)
    program.wait_for_log("RELOAD failed")
    (program.directory / "users").write_text('"ann" "secret"\n')
    program.account.own(program.directory / "users")
    process.send_signal(signal.SIGHUP)
    program.wait_for_log("reload done")
    with pytest.raises(ServerError, match="not allowed"):  # known, and no operator
        RawClient(Address("127.0.0.1", program.port), "pgbouncer", "ann", password="secret")


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (("-x",), "--help"),
        (("--regservice",), "--help"),
        (("other.ini",), "more than one configuration file specified"),
        (("-h",), "take over"),
    ],
)
def test_usage(program: Program, flags: tuple[str, ...], words: str) -> None:
    code, output = program.run(*flags)
    assert (code, words in output) == (0 if flags == ("-h",) else 1, True)


def test_version(program: Program) -> None:
    """What PgBouncer's first line looks like, for scripts that read it, and which build runs."""
    code, output = program.run("-V")
    assert code == 0
    assert output.splitlines()[0] == VERSION_LINE and output.splitlines()[1].startswith("build: ")


def test_verbose_says_more_and_no_reload_takes_it_back(program: Program) -> None:
    program.settings |= {"logfile": "log", "server_login_retry": 0.001}
    process = program.start("-q", "-v")
    program.wait_for_log("process up")

    def debug_lines() -> int:
        with pytest.raises(ServerError, match="Connection refused"):
            program.connect()
        return program.log.count("DEBUG S-0x0: app/nobody@127.0.0.1:1 connecting to server")

    wait_until(lambda: debug_lines() >= 1, "there are lines of level DEBUG")
    process.send_signal(signal.SIGHUP)
    program.wait_for_log("reload done")
    before = debug_lines()
    wait_until(lambda: debug_lines() > before, "and after a reload, too")


@as_root
def test_syslog_hears_every_line(program: Program) -> None:
    """At the place where every daemon looks for it, under the name and facility that were set."""
    if DEV_LOG.exists():
        pytest.skip("this machine has a syslog of its own")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
        daemon.bind(str(DEV_LOG))
        try:
            DEV_LOG.chmod(0o666)
            daemon.settimeout(10)
            program.settings |= {"syslog": 1, "syslog_ident": "stories", "syslog_facility": "local5"}
            process = program.start("-q")
            lines = [daemon.recv(4096).decode()]
            while "process up" not in lines[-1]:
                lines.append(daemon.recv(4096).decode())
            assert all(line.startswith(f"<{21 * 8 + 6}>stories[{process.pid}]: ") for line in lines)
        finally:
            DEV_LOG.unlink()


def test_several_addresses_and_the_abstract_socket(program: Program) -> None:
    """Every listen_addr is served, and the Unix socket that is no file."""
    name = f"@pgpool_py-{program.port}"
    program.settings |= {"logfile": "log", "listen_addr": "127.0.0.1, 127.0.0.2", "unix_socket_dir": name}
    program.start("-q")
    program.wait_for_log("process up")
    for address in ("127.0.0.1", "127.0.0.2"):
        socket.create_connection((address, program.port)).close()
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(f"\0{name[1:]}/.s.PGSQL.{program.port}")


def test_unix_socket_has_mode_and_goes_with_the_process(program: Program) -> None:
    """And a second instance does not take it from a living one."""
    settings = {"logfile": "log", "unix_socket_dir": str(program.directory), "unix_socket_mode": "0750"}
    program.settings |= settings | {"unix_socket_group": str(program.account.gid)}
    process = program.start("-q")
    program.wait_for_log("process up")
    path = program.directory / f".s.PGSQL.{program.port}"
    assert path.stat().st_mode & 0o777 == 0o750
    assert path.stat().st_gid == program.account.gid
    program.settings |= {"listen_addr": ""}
    code, output = program.run()
    assert code == 1 and "unix socket is in use, cannot continue" in output
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)
    assert not path.exists()


def test_two_processes_share_a_port(program: Program) -> None:
    """so_reuseport: both listen, and without it the second one is refused."""
    program.settings |= {"logfile": "log", "so_reuseport": 1}
    program.start("-q")
    program.wait_for_log("process up")
    program.start("-q")
    wait_until(lambda: program.log.count("process up") == 2, "both are up")


def test_socket_activation_and_notifications(program: Program) -> None:
    """systemd: the pooler serves the socket it is given and says READY, RELOADING and STOPPING."""
    given = socket.create_server(("127.0.0.1", program.port))
    notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    path = str(program.directory / "notify")
    notified.bind(path)
    program.account.own(Path(path))
    notified.settimeout(10)
    program.settings |= {"logfile": "log", "listen_addr": ""}
    program.write()
    process = _start_as_systemd(program, given.fileno(), path)
    assert notified.recv(1000) == b"READY=1"
    assert answers(program.port)
    process.send_signal(signal.SIGHUP)
    reloading = notified.recv(1000)
    assert reloading.startswith(b"RELOADING=1\nMONOTONIC_USEC=")
    assert notified.recv(1000) == b"READY=1"
    process.send_signal(signal.SIGINT)
    assert notified.recv(1000) == b"STOPPING=1"
    assert process.wait(10) == 0
    given.close()
    notified.close()


# Descriptor 3, and LISTEN_PID of the process itself, which only the process can know.
AS_SYSTEMD = """import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", NOTIFY_SOCKET=sys.argv[2])
os.execv(sys.executable, [sys.executable, "-m", "pgpool_py", *sys.argv[3:]])
"""


def _start_as_systemd(program: Program, fd: int, notify: str) -> subprocess.Popen[str]:
    user = ["-u", program.account.name] if program.account.switch else []
    process = subprocess.Popen(
        [sys.executable, "-c", AS_SYSTEMD, str(fd), notify, "-q", *user, "pgbouncer.ini"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=program.directory,
        pass_fds=[fd],
        env=child_environment(program.directory, own_environment()),
    )
    program.processes.append(process)
    return process
