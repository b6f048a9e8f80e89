"""Log lines: the layout analysers match on, where they go, and that no text can break or forge one."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pgpool_py.observe.log import Level, Log, LoggingHandler, get_log, label

LINE = re.compile(
    r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} \S+ \[(\d+)\] (NOISE|DEBUG|LOG|WARNING|ERROR|FATAL) (.*)"
)


def a_log(path: Path, verbose: int = 0) -> Log:
    log = Log()
    log.configure(str(path), verbose, quiet=True)
    return log


def texts(path: Path) -> list[tuple[str, str]]:
    """(level, text) of each line; fails when a line is not in the layout."""
    found = [LINE.fullmatch(line) for line in path.read_text().splitlines()]
    assert all(found)
    return [(match[2], match[3]) for match in found if match]


def test_a_line_is_in_pgbouncers_layout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(clock=lambda: 1_795_434_761.5718)
    log.configure(str(tmp_path / "log"), quiet=True)
    log.client(label("C", 0x1F, "app", "web", "10.0.0.4:53111"), "login attempt: db=app user=web tls=no")
    line = (tmp_path / "log").read_text()
    assert re.fullmatch(
        rf"2026-11-\d\d \d\d:\d\d:41\.571 \S+ \[{os.getpid()}\] LOG C-0x1f: app/web@10\.0\.0\.4:53111"
        r" login attempt: db=app user=web tls=no\n",
        line,
    )


def test_an_unknown_peer_has_placeholders() -> None:
    assert label("C", 1, None, None, "unix(7):6432") == "C-0x1: (nodb)/(nouser)@unix(7):6432"


def test_verbosity_decides_the_levels(tmp_path: Path) -> None:
    expected = {0: ["LOG", "WARNING", "ERROR", "FATAL"], 1: ["DEBUG"], 2: ["NOISE"], 9: ["NOISE"]}
    for verbose, first in expected.items():
        path = tmp_path / str(verbose)
        log = a_log(path, verbose)
        for write in (log.noise, log.debug, log.log, log.warning, log.error, log.fatal):
            write("x")
        levels = [level for level, _ in texts(path)]
        assert levels[: len(first)] == first
        assert levels[-4:] == expected[0]
        assert log.wants(Level.DEBUG) is (verbose > 0)


def test_each_line_is_there_at_once(tmp_path: Path) -> None:
    log = a_log(tmp_path / "log")
    for number in range(3):
        log.log(str(number))
        assert texts(tmp_path / "log")[-1] == ("LOG", str(number))


def test_no_text_breaks_or_forges_a_line(tmp_path: Path) -> None:
    a_log(tmp_path / "log").log("no such user: x\n2026-11-23 FATAL \x1b[2J\r\0 \udcff ü")
    assert texts(tmp_path / "log") == [
        ("LOG", r"no such user: x\n2026-11-23 FATAL \x1b[2J\r\x00 \udcff ü"),
    ]


def test_standard_error_unless_quiet(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    log = Log()
    log.log("loud")
    log.configure(quiet=True)
    log.log("silent")
    log.configure()
    log.warning("loud again")
    assert [LINE.fullmatch(line)[3] for line in capfd.readouterr().err.splitlines()] == ["loud", "loud again"]  # type: ignore[index]


def test_a_moved_file_is_opened_again(tmp_path: Path) -> None:
    log = a_log(tmp_path / "log")
    log.log("old")
    (tmp_path / "log").rename(tmp_path / "log.1")
    log.log("still old")
    log.reopen()
    log.log("new")
    assert texts(tmp_path / "log.1") == [("LOG", "old"), ("LOG", "still old")]
    assert texts(tmp_path / "log") == [("LOG", "new")]


def test_an_existing_file_is_continued(tmp_path: Path) -> None:
    a_log(tmp_path / "log").log("first")
    a_log(tmp_path / "log").log("second")
    assert [text for _, text in texts(tmp_path / "log")] == ["first", "second"]


def test_a_refused_file_changes_nothing(tmp_path: Path) -> None:
    log = a_log(tmp_path / "log", verbose=1)
    with pytest.raises(OSError, match="No such file"):
        log.configure(str(tmp_path / "no" / "log"))
    log.debug("goes on")
    assert texts(tmp_path / "log") == [("DEBUG", "goes on")]


def test_a_full_disk_stops_nothing() -> None:
    log = Log()
    log.configure("/dev/full", quiet=True)
    log.error("lost")


def test_libraries_are_heard_line_by_line(tmp_path: Path) -> None:
    logger = logging.Logger("asyncio")
    logger.addHandler(LoggingHandler(a_log(tmp_path / "log")))
    try:
        raise ValueError("seen")
    except ValueError:
        logger.exception("task failed")
    logger.debug("below the threshold")
    logger.critical("%d", "not a number")
    found = texts(tmp_path / "log")
    assert found[0] == ("ERROR", "asyncio: task failed")
    assert ("ERROR", "asyncio: ValueError: seen") in found
    assert found[-1][0] == "FATAL"
    assert "not a number" not in found[0][1]


def test_what_nobody_catches_is_in_the_log(tmp_path: Path) -> None:
    """An exception in a callback of the loop, in the background with --quiet, would be seen by nobody."""
    program = (
        "import asyncio, sys\n"
        "from pgpool_py.observe.log import get_log, hear_libraries\n"
        "log = get_log()\n"
        "log.configure(sys.argv[1], quiet=True)\n"
        "hear_libraries(log)\n"
        "async def life():\n"
        "    asyncio.get_running_loop().call_soon(lambda: 1 / 0)\n"
        "    await asyncio.sleep(0.01)\n"
        "asyncio.run(life())\n"
    )
    package = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "log")], capture_output=True, text=True, cwd=package)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert ("ERROR", "asyncio: ZeroDivisionError: division by zero") in texts(tmp_path / "log")


def test_the_process_has_one_log() -> None:
    assert get_log() is get_log()
