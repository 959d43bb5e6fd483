"""A teacher behind any server that speaks OpenAI's protocol: vLLM, llama.cpp, a paid one."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compact_bench.errors import UserError, shortened
from compact_bench.teachers.answers import Request, Settings, TeacherAnswer

if TYPE_CHECKING:
    import openai

MOST_FAILURES = 10  # one after the other: then the server is taken to be out of order
HOPELESS = (401, 403, 404)  # no key, a wrong one, no such model or address: so for every question


@dataclass(frozen=True)
class Server:
    """How a server is asked.

    key_variable: of the environment, which holds the key; a server of one's own needs none.
    concurrency: requests at the same time. retries: of one request, by the client, with growing
    pauses, or as long as the server says. timeout: seconds of one try.
    """

    url: str
    key_variable: str = "OPENAI_API_KEY"
    concurrency: int = 8
    retries: int = 6
    timeout: float = 600.0

    def ask(
        self,
        wanted: Sequence[Request],
        settings: Settings,
        add: Callable[[Request, TeacherAnswer], None],
        failed: Callable[[Request, str], None],
    ) -> None:
        """Ask for every rationale; `add` gets an answer as soon as it is there, in any order.

        failed: gets what stays unanswered, with the reason. Ctrl-C and hopeless errors end it; what
        is on its way then is waited for, since it is paid for.

        Raises: UserError where the server can't be reached, refuses the key or the model, or fails
        many times in a row.
        """
        client = self._client()
        stop = _Stop()

        def one(request: Request) -> None:
            if stop.reason:
                return
            try:
                answer = _answer(client, request, settings)
            except Exception as error:  # of the client, of the network, of a garbled reply
                reason = self._reason(error)
                stop.failure(reason, hopeless=_hopeless(error))
                failed(request, reason)
            else:
                stop.success()
                add(request, answer)

        with client, ThreadPoolExecutor(self.concurrency) as pool:
            try:
                futures: list[Future[None]] = [pool.submit(one, request) for request in wanted]
                for future in futures:
                    future.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        if stop.reason:
            raise UserError(f"{self.url}: {stop.reason}")

    def _client(self) -> openai.OpenAI:
        try:
            import openai
        except ImportError as error:
            raise UserError(
                "--teacher needs the package openai: pip install compact-bench[api]"
            ) from error
        return openai.OpenAI(
            base_url=self.url,
            api_key=os.environ.get(self.key_variable) or "none",
            max_retries=self.retries,
            timeout=self.timeout,
        )

    def _reason(self, error: Exception) -> str:
        """What went wrong, on a line that never holds the key."""
        text = str(error) or type(error).__name__
        if isinstance(error, ValueError):  # of json
            text = f"the reply is no chat completion: {text}"
        key = os.environ.get(self.key_variable)
        if key:
            text = text.replace(key, "***")
        status = getattr(error, "status_code", None)
        if status in (401, 403):
            held = "is refused" if key else "is not set"
            text += f" (the key in the environment variable {self.key_variable} {held})"
        elif status == 404:
            text += " (is the model's name right, and the address, which mostly ends in /v1?)"
        return shortened(text, 400)


class _Stop:
    """Why no more is asked, "" as long as there is no reason."""

    def __init__(self) -> None:
        self.reason = ""
        self._failures = 0
        self._lock = threading.Lock()

    def success(self) -> None:
        with self._lock:
            self._failures = 0

    def failure(self, reason: str, hopeless: bool) -> None:
        with self._lock:
            self._failures += 1
            if not self.reason and (hopeless or self._failures >= MOST_FAILURES):
                self.reason = reason


def _hopeless(error: Exception) -> bool:
    import openai

    if isinstance(error, openai.APIConnectionError):
        return not isinstance(error, openai.APITimeoutError)
    return getattr(error, "status_code", None) in HOPELESS


def _answer(client: openai.OpenAI, request: Request, settings: Settings) -> TeacherAnswer:
    """Ask once. Raises any of the client's errors, and ValueError for a reply that is none."""
    reply: Any = client.chat.completions.create(
        model=settings.model,
        messages=[{"role": "user", "content": request.text(settings)}],
        temperature=settings.temperature,
        seed=settings.seed + request.sample,
        max_tokens=settings.max_tokens,
    )
    choices: Any = getattr(reply, "choices", None)  # the client takes any JSON, and text for text
    message = getattr(choices[0], "message", None) if choices else None
    if message is None:
        raise ValueError(shortened(repr(reply)))
    thought = getattr(message, "reasoning_content", None) or getattr(message, "reasoning", None)
    text = str(message.content or "")
    usage = reply.usage
    return TeacherAnswer(
        f"<think>\n{thought}\n</think>\n{text}" if thought else text,
        str(choices[0].finish_reason or "stop"),
        getattr(usage, "prompt_tokens", None),
        getattr(usage, "completion_tokens", None),
    )
