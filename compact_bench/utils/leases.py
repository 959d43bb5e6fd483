"""Leases: files that say who works on what, of processes of one machine or of several on one disk.

They rely on two promises that NFS keeps, too: of several processes that create a file exclusively
one succeeds, and a rename is done once. Not on flock, which some shared disks lack or keep to one
machine. filelock's leases take over from the dead by an exchange of names, which NFS refuses.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from compact_bench.errors import UserError
from compact_bench.utils import files

SUFFIX = ".lease"
BEAT = 10.0  # seconds
# Seconds after which a lease of another machine is given up; NFS may show old times.
SILENCE = 120.0
UNWRITTEN = 5.0  # the same of a lease without content: who created it died before writing it


class TakenOver(Exception):
    """Another process has the lease now."""


@dataclass(frozen=True)
class LeaseOwner:
    """A process, and the token of one lease. started: by its machine's clock, "" if unknown."""

    host: str
    pid: int
    started: str
    token: str


def owner_here(token: str) -> LeaseOwner:
    """This process as the owner of a lease. Containers may share a host's name, but not pids."""
    try:
        namespace = os.stat("/proc/self/ns/pid").st_ino
    except OSError:  # not Linux
        namespace = 0
    host = f"{socket.gethostname()}/{namespace}"
    return LeaseOwner(host, os.getpid(), _started(os.getpid()), token)


def _started(pid: int) -> str:
    """When a process of this machine started, which no later one of its number did; "" of none."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


def read_owner(path: Path) -> LeaseOwner | None:
    """The owner of a lease; None where there is none, or none is written yet."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        values: dict[str, Any] = json.loads(path.read_text("utf-8"))
        return LeaseOwner(**values)
    return None


class Leases:
    """The leases of this process, which beat (a file's time is set) until `close`.

    A lease is abandoned where its process on this machine has ended, or where one of another
    machine has not beaten for SILENCE seconds of the clock here.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._tokens: dict[Path, str] = {}
        self._seen: dict[Path, tuple[tuple[str, int], float]] = {}  # of others: beat, since when
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._beat, daemon=True)

    def __enter__(self) -> Leases:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def take(self, path: Path) -> bool:
        """Lease a path, from who is dead if need be; False where another process works on it.

        Raises UserError where the file can't be written.
        """
        if path in self._tokens or self._create(path):
            return True
        return self._remove_abandoned(path) and self._create(path)

    def token(self, path: Path) -> str:
        """The token of a lease that is taken: whoever has it may be `lent` the lease."""
        return self._tokens[path]

    def release(self, path: Path) -> None:
        """Give a lease back, unless it was taken over."""
        token = self._tokens.pop(path, None)
        owner = read_owner(path)
        if owner is not None and owner.token == token:
            path.unlink(missing_ok=True)

    def tidy(self, folder: Path) -> None:
        """Remove what processes of this machine left in a folder when they were killed."""
        for path in folder.glob(f".*{SUFFIX}"):
            self._remove_abandoned(path)
        files.remove_leftovers(folder)

    def close(self) -> None:
        """End the beats and give all leases back."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        for path in list(self._tokens):
            self.release(path)

    def _create(self, path: Path) -> bool:
        token = uuid.uuid4().hex
        with files.writable(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        try:
            file = open(path, "x", encoding="utf-8")  # noqa: SIM115 - may exist
        except FileExistsError:
            return False
        except OSError as error:
            raise UserError(f"cannot write {path}: {error.strerror or error}") from error
        self._tokens[path] = token
        with files.writable(path), file:
            file.write(json.dumps(asdict(owner_here(token))))
        if not self._thread.is_alive():
            self._thread.start()
        return True

    def _remove_abandoned(self, path: Path) -> bool:
        """Remove a lease that was given up; False where it is held."""
        try:
            content, beat = path.read_text("utf-8"), path.stat().st_mtime_ns
        except OSError:  # released meanwhile
            return not path.exists()
        if not self._is_abandoned(path, content, beat):
            return False
        # Renamed, which one process alone succeeds in, and looked at again: another may have
        # taken it over since.
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{files.LEFTOVER}")
        try:
            path.rename(aside)
            if aside.read_text("utf-8") != content:
                aside.rename(path)
                return False
        except OSError:
            return False
        aside.unlink(missing_ok=True)
        return True

    def _is_abandoned(self, path: Path, content: str, beat: int) -> bool:
        owner = read_owner(path)
        if owner and owner.started and owner.host == owner_here("").host:
            return _started(owner.pid) != owner.started
        last, since = self._seen.get(path, (None, 0.0))
        if last != (content, beat):
            self._seen[path] = (content, beat), self._clock()
            return False
        return self._clock() - since > (SILENCE if owner else UNWRITTEN)

    def _beat(self) -> None:
        while not self._stop.wait(BEAT):
            for path in list(self._tokens):
                with contextlib.suppress(OSError):
                    os.utime(path)


@contextlib.contextmanager
def lent(path: Path, token: str) -> Iterator[None]:
    """Hold a lease, known by its token, on behalf of its owner, and past that one's end.

    Raises TakenOver where the lease has another token, or is gone.
    """
    owner = read_owner(path)
    if owner is None or owner.token != token:
        raise TakenOver(f"{path} is another's, or gone")
    leases = Leases()
    files.write_json(path, asdict(owner_here(token)))
    leases._tokens[path] = token
    leases._thread.start()
    try:
        yield
    finally:
        del leases._tokens[path]  # so that `close` leaves it to its owner
        leases.close()
        if (now := read_owner(path)) is not None and now.token == token:
            files.write_json(path, asdict(owner))
