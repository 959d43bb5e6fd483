"""Faults at chosen moments of a process: a signal, a full disk, a clock that jumps.

A moment is a place between two changes on disk: half of a file is written, it is about to be
renamed, it was; a file or folder is about to be removed, it was; the same of a study's journal.
"""

from __future__ import annotations

import builtins
import errno
import os
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from compact_bench.utils import files

SIGNALS = {name: getattr(signal, name) for name in ("SIGKILL", "SIGTERM", "SIGINT")}
FAULTS = (*SIGNALS, "full disk", "clock")
DAY = 86400.0


class Moments:
    """Counts the moments of a process in a file, and has a fault happen at one of them.

    at: which moment, from 1; 0 for none. The fault happens once in the folder's life, whichever
    process comes to it: a worker that is started anew counts on.
    """

    def __init__(self, folder: Path, who: str, at: int, fault: str) -> None:
        self.count, self.once = folder / f"moments-{who}", folder / "fault"
        self.at, self.fault = at, fault
        self.full = False

    def pass_by(self, takes_room: bool = True) -> None:
        """Come to the next moment; a full disk refuses only what takes room."""
        with builtins.open(self.count, "ab") as file:
            file.write(b".")
            number = file.tell()
        if self.full and takes_room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if number != self.at or self.once.exists():
            return
        self.once.touch()
        if self.fault == "full disk":
            self.full = True
            self.pass_by(takes_room)
        elif self.fault == "clock":
            now = time.time
            time.time = lambda: now() - DAY
        else:
            os.kill(os.getpid(), SIGNALS[self.fault])

    def around(self, function: Callable[..., Any], takes_room: bool = True) -> Callable[..., Any]:
        """The function between two moments."""

        def wrapped(*arguments: Any, **named: Any) -> Any:
            self.pass_by(takes_room)
            result = function(*arguments, **named)
            self.pass_by(takes_room=False)
            return result

        return wrapped

    def open(self, *arguments: Any, **named: Any) -> Any:
        """`open`, with a moment when half of what is written at once has reached the disk."""
        file = builtins.open(*arguments, **named)  # noqa: SIM115 - whoever asked closes it
        return _Halved(file, self) if "x" in str(arguments[1:2]) else file

    def install(self) -> None:
        """Have this process pass by at every change that it makes on disk."""
        files.open = self.open  # type: ignore[attr-defined]
        os.replace = self.around(os.replace)
        Path.rename = self.around(Path.rename)  # type: ignore[method-assign]
        Path.unlink = self.around(Path.unlink, False)  # type: ignore[method-assign]
        shutil.rmtree = self.around(shutil.rmtree, False)  # type: ignore[assignment]


class _Halved:
    """A file that is being written, half by half."""

    def __init__(self, file: Any, moments: Moments) -> None:
        self.file, self.moments = file, moments

    def __enter__(self) -> _Halved:
        return self

    def __exit__(self, *error: object) -> None:
        self.file.close()

    def write(self, content: bytes) -> None:
        middle = len(content) // 2
        self.file.write(content[:middle])
        self.file.flush()
        self.moments.pass_by()
        self.file.write(content[middle:])

    def __getattr__(self, name: str) -> Any:
        return getattr(self.file, name)
