"""The command line: what to run, and how a start that cannot be is refused."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NoReturn

from pgpool_py import build
from pgpool_py.version import VERSION, VERSION_LINE

if TYPE_CHECKING:
    from pgpool_py.config import Config


class _Parser(argparse.ArgumentParser):
    """Wrong usage ends with 1, as PgBouncer's does."""

    def error(self, message: str) -> NoReturn:
        self.exit(1, f'{self.prog}: {message}\nTry "{self.prog} --help" for more information.\n')


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="pgpool_py",
        description="A connection pooler for PostgreSQL, a drop-in for PgBouncer. `pgpool_py dev` starts an embedded"
        " PostgreSQL and a pooler in front of it.",
    )
    parser.add_argument("config", metavar="pgbouncer.ini", nargs="*", help="the configuration, in PgBouncer's format")
    parser.add_argument("-d", "--daemon", action="store_true", help="run in the background; needs the setting pidfile")
    parser.add_argument("-q", "--quiet", action="store_true", help="log to the log file or syslog only")
    parser.add_argument("-R", "--reboot", action="store_true", help="take over from a process that runs already")
    parser.add_argument("-u", "--user", default="", metavar="NAME", help="become this system user; goes before the setting")
    parser.add_argument("-v", "--verbose", action="count", default=0, help="log more; twice for more still")
    parser.add_argument("-V", "--version", action="store_true", help="show the version and the build, and exit")
    parser.add_argument("--check", action="store_true", help="check the configuration and exit with 0 or 1")
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; the exit code."""
    arguments = list(sys.argv[1:] if argv is None else argv)
    if arguments[:1] == ["dev"]:
        from pgpool_py import dev

        return dev.main(arguments[1:])
    options = _parser().parse_args(arguments)
    if options.version:
        print(VERSION_LINE)
        print(f"build: {build.describe()}")
        return 0
    if len(options.config) != 1:
        return _refuse("no configuration file specified" if not options.config else "more than one configuration file specified")
    (path,) = options.config

    from pgpool_py.app.encryption import Encryption
    from pgpool_py.config import ConfigError, load

    try:
        config = load(path, starting=not options.check)
        Encryption.of(config)  # its files are part of what may be at fault
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    if options.check:
        for line in config.warnings:
            print(line, file=sys.stderr)
        print(f"{path}: ok")
        return 0
    return _serve(config, options)


def _refuse(message: str) -> int:
    print(f"pgpool_py: {message}", file=sys.stderr)
    return 1


def _serve(config: Config, options: argparse.Namespace) -> int:
    # Imported as whoever called: the user to become may not be able to read the interpreter's files.
    from pgpool_py.app.daemon import Pidfile, StartError, become_user, daemonize
    from pgpool_py.app.pooler import Pooler, configure_log
    from pgpool_py.app.takeover import Successor
    from pgpool_py.config import ConfigError
    from pgpool_py.frontend.addresses import ListenError
    from pgpool_py.observe.log import get_log, hear_libraries

    factory = _loop_factory()
    main = config.pgbouncer
    log = get_log()
    log.least_verbosity = options.verbose
    log.stderr = not (options.quiet or options.daemon)
    hear_libraries(log)
    pidfile = Pidfile(main.pidfile)
    ready = None
    try:
        become_user(options.user or main.user)
        if options.daemon and not main.pidfile:
            raise StartError("daemon needs pidfile configured")
        configure_log(log, config)
        successor = Successor.find(config) if options.reboot else None
        if options.reboot and successor is None:
            log.log("old process not found, try to continue normally")
        if successor is None and pidfile.check():
            log.warning("stale pidfile, removing")
        if options.daemon:
            ready = daemonize()
        pidfile.write()
        log.log(f"pgpool_py {VERSION}, {build.describe()}")

        async def life() -> None:
            await Pooler(config, log, ready, successor).run()

        with asyncio.Runner(loop_factory=factory) as runner:
            gc.freeze()
            runner.run(life())
    except (StartError, ListenError, ConfigError) as error:
        if not log.stderr:
            print(f"pgpool_py: {error}", file=sys.stderr)
        log.fatal(str(error))
        return 1
    finally:
        pidfile.remove()
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
