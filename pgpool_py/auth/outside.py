"""Passwords that another service judges: PAM or a directory. Its library blocks, so each question has a thread.

Knows threads, how many there may be, and that one may never come back. What is asked is in pam.py and ldap.py.
"""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Callable
from importlib import import_module

AT_ONCE = 32  # questions under way; more wait for their turn, within client_login_timeout

# auth_type -> the modules it needs, and the extra that brings them
EXTRAS = {"pam": (("pamela",), "pam"), "ldap": (("ldap3", "ldap3.core.exceptions"), "ldap")}


class Outside(Exception):
    """The service said no, or said nothing: the text is for the log and holds no secret."""


def missing_extra(method: str) -> str | None:
    """How to install what *method* needs, when it is not there.

    It is imported here, at start: later the process may be a user who cannot read it.
    """
    modules, extra = EXTRAS.get(method, ((), ""))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # ldap3's, about the package it stands on
            for module in modules:
                import_module(module)
    except (ImportError, OSError, AttributeError) as error:  # pamela needs libpam itself, too
        return f"needs the package {modules[0]}: pip install 'pgpool_py[{extra}]' ({error})"
    return None


class Questions:
    """Asks questions that block. A thread that hangs keeps nobody from ending: neither its login, nor the process."""

    def __init__(self, at_once: int = AT_ONCE) -> None:
        self._free = asyncio.Semaphore(at_once)

    async def ask(self, question: Callable[[], None]) -> None:
        """Return when *question* has, in a thread of its own; what it raises is raised here."""
        await self._free.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[None] = loop.create_future()

        def settle(error: BaseException | None) -> None:
            # The place is free only now: a login may have given up while its thread goes on.
            self._free.release()
            if answer.done():
                return
            if error is None:
                answer.set_result(None)
            else:
                answer.set_exception(error)

        def run() -> None:
            error: BaseException | None = None
            try:
                question()
            except BaseException as caught:
                error = caught
            try:
                loop.call_soon_threadsafe(settle, error)
            except RuntimeError:
                pass  # the loop is closed: nobody waits any more

        # A daemon: a service that never answers must not keep the process from ending.
        try:
            threading.Thread(target=run, name="password check", daemon=True).start()
        except RuntimeError as error:
            self._free.release()
            raise Outside(str(error)) from None
        await answer
