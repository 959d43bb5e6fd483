"""Who works on a study, and who is gone: several processes and machines may share one storage.

Each process holds a lock file while it lives, and says in the storage every few seconds that it
does. Whoever sees the lock file free, or on another machine hears nothing for a while, knows.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import filelock

if TYPE_CHECKING:
    import optuna

BEAT = 10.0  # seconds

SILENCE = 90.0  # seconds without a beat after which a process elsewhere is taken for gone

PREFIX = "worker:"


class Presence:
    """This process among those that work on the studies of a storage.

    folder: of the lock files. Ended by `close`, or by the end of the process.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.clock = folder, clock
        # The machine's name is nobody's business, and the storage may be published.
        host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
        self.name = f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(self._file(self.name))
        self._lock.acquire(timeout=0)
        self._heard: dict[str, tuple[int, float]] = {}
        self._stop = threading.Event()
        self._studies: list[optuna.Study] = []
        self._thread = threading.Thread(target=self._say, daemon=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.lock"

    def beat(self, study: optuna.Study) -> None:
        """Begin to say in this study, in the background, that this process lives."""
        self._studies.append(study)
        if not self._thread.is_alive():
            self._thread.start()

    def _say(self) -> None:
        count = 0
        while not self._stop.wait(BEAT if count else 0):
            count += 1
            # Where the storage is away, whoever asks it next will say so.
            with contextlib.suppress(Exception):
                for study in list(self._studies):
                    study.set_user_attr(PREFIX + self.name, count)

    def gone(self, name: str, study: optuna.Study) -> bool:
        """Whether the process that called itself so has ended."""
        if name == self.name:
            return False
        path = self._file(name)
        if path.exists():  # it works on the same files: its lock says at once
            try:
                with filelock.FileLock(path).acquire(timeout=0):
                    pass
            except filelock.Timeout:
                return False
            path.unlink(missing_ok=True)
            return True
        count = int(study.user_attrs.get(PREFIX + name, 0))
        known, since = self._heard.get(name, (-1, 0.0))
        if count != known:
            self._heard[name] = (count, self.clock())
            return False
        return self.clock() - since > SILENCE

    def close(self, tidy: bool = True) -> None:
        """End the beats and give the lock back.

        tidy: also remove its file. It stays where trials may be left behind: whoever comes next
        finds it free, and need not wait for the silence.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._lock.release()
        if tidy:
            self._file(self.name).unlink(missing_ok=True)
