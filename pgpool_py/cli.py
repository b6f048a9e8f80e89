"""The command line: what to run, and how a start that cannot be is refused."""

from __future__ import annotations

import argparse
import asyncio
import gc
import os
import sys
from collections.abc import Callable, Sequence

from pgpool_py import build
from pgpool_py.version import VERSION, VERSION_LINE


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="pgpool_py",
        description="A connection pooler for PostgreSQL, a drop-in for PgBouncer. `pgpool_py dev` starts an embedded"
        " PostgreSQL and a pooler in front of it.",
    )
    parser.add_argument("config", metavar="pgbouncer.ini", nargs="?", help="the configuration, in PgBouncer's format")
    parser.add_argument("-q", "--quiet", action="store_true", help="log to the log file only")
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
    if options.config is None:
        return _refuse("no configuration file specified")

    from pgpool_py.app.encryption import Encryption
    from pgpool_py.config import ConfigError, load

    try:
        config = load(options.config)
        Encryption.of(config)  # its files are part of what may be at fault
    except ConfigError as error:
        for problem in error.problems:
            print(problem, file=sys.stderr)
        return 1
    if options.check:
        for line in config.warnings:
            print(line, file=sys.stderr)
        print(f"{options.config}: ok")
        return 0
    if os.getuid() == 0:
        return _refuse("pgpool_py should not run as root")
    return _serve(config, options.verbose, options.quiet)


def _refuse(message: str) -> int:
    print(f"pgpool_py: {message}", file=sys.stderr)
    return 1


def _serve(config: object, verbose: int, quiet: bool) -> int:
    from pgpool_py.app.pooler import Pooler
    from pgpool_py.config import Config
    from pgpool_py.frontend.addresses import ListenError
    from pgpool_py.observe.log import get_log

    assert isinstance(config, Config)
    log = get_log()
    try:
        log.configure(config.pgbouncer.logfile, max(verbose, config.pgbouncer.verbose), quiet)
    except OSError as error:
        return _refuse(f"logfile {config.pgbouncer.logfile}: {error.strerror}")
    log.log(f"pgpool_py {VERSION}, {build.describe()}")

    async def life() -> None:
        await Pooler(config, log).run()

    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            gc.freeze()
            runner.run(life())
    except ListenError as error:
        log.fatal(str(error))
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
