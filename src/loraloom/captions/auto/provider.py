"""A vision model behind an OpenAI-compatible address: Ollama, vLLM, or one that is hosted.

Schema: OpenAI's API reference, "Create chat completion"; pictures go as data URLs. Only the
address that the user named is contacted.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

from PIL import Image
from pydantic import BaseModel, Field, ValidationError

from loraloom.captions.auto import defaults
from loraloom.captions.auto.address import Address, AddressFailure, Reply
from loraloom.captions.auto.answer import Answer, Failure, Seen
from loraloom.captions.auto.pace import Pace, pause_s, retry_after_s
from loraloom.captions.auto.prompts import Prompt
from loraloom.captions.auto.reply import caption_in, captions_in
from loraloom.captions.rules import Style
from loraloom.errors import ProviderFailed, ProviderInvalid

BUSY = (408, 409, 425, 429, 500, 502, 503, 504, 529)
"""Statuses that may pass: too many requests, or a server in trouble."""
OF_THE_PICTURE = (400, 413, 415, 422)
"""Statuses that concern what was sent; another picture may do."""


class _Part(BaseModel):
    text: str = ""


class _Message(BaseModel):
    content: str | list[_Part] | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Completion(BaseModel):
    choices: list[_Choice] = Field(min_length=1)


class Provider:
    """Asks `model` at `address` with `prompt`; the key is never shown or stored."""

    def __init__(
        self, address: Address, model: str, prompt: Prompt, *, key: str = "",
        pace: Pace | None = None, timeout_s: float | None = None,
    ) -> None:  # fmt: skip
        """Raises ProviderInvalid."""
        if not model.strip():
            raise ProviderInvalid(
                "Name the model at this address with --model, such as llava or qwen2.5-vl."
            )
        if key and not (key.isascii() and key.isprintable() and " " not in key):
            raise ProviderInvalid("The key holds spaces or letters that a key cannot have.")
        self._address, self._model, self._prompt, self._key = address, model, prompt, key
        self._chosen = defaults.provider()
        self._pace = pace or Pace(0)
        self._timeout_s = timeout_s or self._chosen.timeout_s
        self._temperature: float | None = self._chosen.temperature
        self._failed = 0
        self.name = f"{model} at {address}"
        self.fingerprint = f"{self.name} {prompt.system} {prompt.question}"
        self.style: Style = prompt.style
        self.batch = prompt.pictures
        self.frames = prompt.frames

    def describe(self, seen: Sequence[Seen]) -> list[Answer | Failure]:
        """One caption each, by one request where the prompt takes several pictures.

        Raises ProviderFailed where the address, model or key is refused, or nothing helps.
        """
        if len(seen) == 1:
            return [self._counted(self._one(seen[0]))]
        told = self._ask([frame for frames in seen for frame in frames])
        found = captions_in(told, len(seen)) if isinstance(told, str) else {}
        self._failed = 0 if found else self._failed
        return [
            found.get(number) or self._counted(self._one(frames))
            for number, frames in enumerate(seen)
        ]

    def _one(self, frames: Seen) -> Answer | Failure:
        told = self._ask(frames)
        if isinstance(told, Failure):
            return told
        if self._prompt.pictures > 1:
            return captions_in(told, 1).get(0) or caption_in(told)
        return caption_in(told)

    def _counted(self, answer: Answer | Failure) -> Answer | Failure:
        """`answer`; raises ProviderFailed after too many failures in a row."""
        self._failed = self._failed + 1 if isinstance(answer, Failure) else 0
        if isinstance(answer, Failure) and self._failed >= self._chosen.failures_in_a_row:
            raise ProviderFailed(
                f"{self._failed} pictures in a row got no caption from {self.name}: "
                f"{answer.reason}. Look there, then run the same command again; it goes on."
            )
        return answer

    def _ask(self, pictures: Sequence[Image.Image]) -> str | Failure:
        """The model's words about these pictures."""
        reason = ""
        for attempt in range(self._chosen.tries):
            self._pace.wait()
            asked_s = None
            try:
                reply = self._post(pictures)
            except AddressFailure as error:
                if error.lasts == "this request":
                    return Failure(str(error))
                if error.lasts == "always":
                    raise ProviderFailed(
                        f"{self._address} cannot be reached: {error}. Is the server running, and "
                        "is the address right? The same command goes on where this one stopped."
                    ) from error
                reason = str(error)
            else:
                if reply.status not in BUSY or _is_final(reply):
                    return self._words(reply)
                reason, asked_s = self._told(reply), retry_after_s(reply.headers)
            if attempt < self._chosen.tries - 1:
                self._rest(attempt, asked_s, reason)
        return Failure(f"{reason}, {self._chosen.tries} times")

    def _rest(self, attempt: int, asked_s: float | None, reason: str) -> None:
        pause = pause_s(attempt, self._chosen.pause_s) if asked_s is None else asked_s
        if pause > self._chosen.longest_pause_s:
            raise ProviderFailed(
                f"{self._address} asks to wait {pause:.0f} s ({reason}). Run the same command "
                "again after that; it goes on where this one stopped."
            )
        self._pace.sleep(pause)

    def _post(self, pictures: Sequence[Image.Image]) -> Reply:
        body = json.dumps(self._body(pictures)).encode()
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        reply = self._address.post("/chat/completions", body, headers, self._timeout_s)
        if reply.status == 400 and b"temperature" in reply.body and self._temperature is not None:
            self._temperature = None  # some models take only their own
            return self._post(pictures)
        return reply

    def _body(self, pictures: Sequence[Image.Image]) -> dict[str, Any]:
        parts: list[dict[str, Any]] = [{"type": "text", "text": self._prompt.question}]
        for number, picture in enumerate(pictures, start=1):
            if self._prompt.pictures > 1:
                parts.append({"type": "text", "text": f"{number}:"})
            url = data_url(picture, self._chosen.longest_side_px, self._chosen.jpeg_quality)
            parts.append({"type": "image_url", "image_url": {"url": url}})
        body: dict[str, Any] = {
            "model": self._model,
            "messages": [
                {"role": "system", "content": self._prompt.system},
                {"role": "user", "content": parts},
            ],
        }
        return body if self._temperature is None else {**body, "temperature": self._temperature}

    def _words(self, reply: Reply) -> str | Failure:
        """What the model said. Raises ProviderFailed where asking on makes no sense."""
        if reply.status in OF_THE_PICTURE:
            return Failure(self._told(reply))
        if reply.status != 200:
            raise ProviderFailed(f"{self._address}: {self._told(reply)}. {_advice(reply)}")
        try:
            choice = _Completion.model_validate_json(reply.body).choices[0]
        except ValidationError:
            return Failure("the answer is no chat completion")
        if choice.message.refusal:
            return Failure(f"the model refused: {choice.message.refusal[:120]}")
        if choice.finish_reason == "length":
            return Failure("the answer was cut off at the server's limit of tokens")
        content = choice.message.content or ""
        return content if isinstance(content, str) else "".join(part.text for part in content)

    def _told(self, reply: Reply) -> str:
        """A status with the server's own words, without the key."""
        words = " ".join(_error_of(reply).get("message", "").split())[:200]
        if self._key:
            words = words.replace(self._key, "…")
        words = "".join(char for char in words if char.isprintable())
        return f"it answered {reply.status}" + (f" ({words})" if words else "")


def data_url(picture: Image.Image, longest_px: int, quality: int) -> str:
    """A picture (mode RGB) as a JPEG in a data URL, made smaller where it is larger."""
    small = picture.copy()
    small.thumbnail((longest_px, longest_px), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, "JPEG", quality=quality)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _is_final(reply: Reply) -> bool:
    """An empty account answers like a busy server, but does not pass."""
    return reply.status == 429 and _error_of(reply).get("code") == "insufficient_quota"


def _error_of(reply: Reply) -> dict[str, str]:
    """The `error` object of an answer, as text."""
    try:
        tree = json.loads(reply.body)
    except ValueError:
        return {}
    error = tree.get("error", tree) if isinstance(tree, dict) else {}
    if isinstance(error, str):
        return {"message": error}
    found = error.items() if isinstance(error, dict) else ()
    return {str(key): value for key, value in found if isinstance(value, str)}


def _advice(reply: Reply) -> str:
    match reply.status:
        case 401 | 403:
            return "Give the key's environment variable with --key-env, and check the key."
        case 404:
            return "Check --model, and the address: it usually ends in /v1."
        case 300 | 301 | 302 | 303 | 307 | 308:
            place = reply.headers.get("location", "elsewhere")[:200]
            return f"It sends on to {place}, which is not followed. Name that address if right."
        case 429:
            return "The account has no credit left."
    return "Look into the server's own log."
