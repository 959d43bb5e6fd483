"""Which processes still work on a study, of one machine or several that share a storage.

Each process holds a lock file while it lives, and raises a count in the study every few seconds.
Whoever finds the lock free, or on another machine sees no change for a while, knows that it ended.
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

SILENCE = 90.0  # seconds without a beat after which a process elsewhere is taken for ended

PREFIX = "worker:"


class Presence:
    """This process among those that work on the studies of a storage, until `close` or its end.

    folder: of the lock files.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self.folder, self.clock = folder, clock
        # The machine's name is nobody's business, and the storage may be published.
        host = hashlib.sha256(socket.gethostname().encode()).hexdigest()[:6]
        self.name = f"{host}-{os.getpid()}-{uuid.uuid4().hex[:8]}"
        folder.mkdir(parents=True, exist_ok=True)
        self._lock = filelock.FileLock(self._lock_file(self.name))
        self._lock.acquire(timeout=0)
        self._last_beats: dict[str, tuple[int, float]] = {}
        self._stop = threading.Event()
        self._studies: list[optuna.Study] = []
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def _lock_file(self, name: str) -> Path:
        return self.folder / f"{name}.lock"

    def join(self, study: optuna.Study) -> None:
        """Begin to raise this process's count in the study, in the background."""
        self._studies.append(study)
        if not self._thread.is_alive():
            self._thread.start()

    def _beat(self) -> None:
        count = 0
        while not self._stop.wait(BEAT if count else 0):
            count += 1
            # Where the storage is away, whoever needs it next will report that.
            with contextlib.suppress(Exception):
                for study in list(self._studies):
                    study.set_user_attr(PREFIX + self.name, count)

    def has_ended(self, name: str, study: optuna.Study) -> bool:
        """Whether the process of this name has ended."""
        if name == self.name:
            return False
        path = self._lock_file(name)
        if path.exists():  # of the same folder: its lock shows it at once
            try:
                filelock.FileLock(path).acquire(timeout=0).lock.release()
            except filelock.Timeout:
                return False
            path.unlink(missing_ok=True)
            return True
        count = int(study.user_attrs.get(PREFIX + name, 0))
        last, since = self._last_beats.get(name, (-1, 0.0))
        if count != last:
            self._last_beats[name] = (count, self.clock())
            return False
        return self.clock() - since > SILENCE

    def close(self, tidy: bool = True) -> None:
        """End the beats and release the lock.

        tidy: also remove its file. It stays where trials may be left behind, so that whoever comes
        next finds it free and need not wait for the silence.
        """
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=5)
        self._lock.release()
        if tidy:
            self._lock_file(self.name).unlink(missing_ok=True)
