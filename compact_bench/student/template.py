"""The one prompt template that training and evaluation share."""

from __future__ import annotations

from typing import Any

from compact_bench.data.answers import strip_answer_sentence

CUE = " The answer is"
TASK_PREFIX = {"plain": "", "predict": "[predict] ", "explain": "[explain] "}


def prompt_text(
    question: str, tokenizer: Any, chat: bool, kind: str = "plain", prefix: str = ""
) -> str:
    """The text before the rationale.

    kind "teacher" puts `prefix` (a teacher's own mark) before the question. With `chat` the
    tokenizer's chat template wraps the question and opens the assistant's turn.
    """
    mark = prefix if kind == "teacher" else TASK_PREFIX[kind]
    if chat:
        turns = [{"role": "user", "content": f"{mark}{question}"}]
        return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True))
    return f"{mark}Question: {question}\nAnswer:"


def target_text(rationale: str, answer: str | None) -> tuple[str, int]:
    """The text after the prompt, and the index in it where the answer begins.

    The rationale's own answer sentence is removed and "The answer is {answer}" appended; one
    without an answer stays as it is, and the index is the text's length.
    """
    if answer is None:
        text = " " + rationale.strip()
        return text, len(text)
    body = strip_answer_sentence(rationale).strip()
    head = (f" {body}" if body else "") + CUE
    return f"{head} {answer}", len(head)


def adds_bos(tokenizer: Any) -> bool:
    """Whether this tokenizer opens a text with its beginning-of-sequence token."""
    bos = tokenizer.bos_token_id
    if bos is None:
        return False
    return tokenizer("x", add_special_tokens=True)["input_ids"][:1] == [bos]
