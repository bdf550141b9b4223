"""What the user chose to have captions made by, checked and opened."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, replace

from loraloom.captions import rules
from loraloom.captions.auto import defaults, prompts, source
from loraloom.captions.auto.address import Address
from loraloom.captions.auto.answer import LEAST_SHARE, Captioner
from loraloom.captions.auto.draft import Order
from loraloom.captions.auto.pace import Pace
from loraloom.captions.auto.prompts import Language, PromptName
from loraloom.captions.measure import Check
from loraloom.captions.rules import BaseStyle
from loraloom.errors import CaptionerInvalid, ProviderInvalid
from loraloom.settings import STARTER


@dataclass(frozen=True)
class Choice:
    """By whom, and how; empty where the user said nothing."""

    tagger: str = ""
    provider: str = ""
    model: str = ""
    key_env: str = ""
    prompt: PromptName | None = None
    language: Language = "en"
    threshold: float | None = None
    per_minute: float = 0.0
    timeout_s: float = 0.0


def open_choice(choice: Choice, check: Check, base: str) -> tuple[Captioner, Order]:
    """The captioner, and how its answers become captions in the style of `base`.

    Raises CaptionerInvalid, ProviderInvalid, TaggerUnknown, TaggerUnusable, BaseUnknown.
    """
    style = rules.base_style(base) if base else None
    captioner = _provider(choice, check, style) if choice.provider else _tagger(choice, base)
    written = style.style if style else captioner.style
    video = bool(style and style.video) or choice.prompt == "video"
    checked = replace(check, style=captioner.style, video=video)
    return captioner, Order(checked, written, _threshold(choice))


def tagger_name(choice: Choice, base: str) -> str:
    """The tagger chosen, or the usual one; the starter base has its own."""
    return choice.tagger or (STARTER if base == STARTER else defaults.tagger().default)


def _tagger(choice: Choice, base: str) -> Captioner:
    foreign = {
        "--model": choice.model,
        "--key-env": choice.key_env,
        "--per-minute": choice.per_minute,
        "--timeout": choice.timeout_s,
    }
    for name, given in foreign.items():
        if given:
            raise CaptionerInvalid(f"{name} is for a vision model; name its address: --provider")
    if choice.language != "en":
        raise CaptionerInvalid(
            "Taggers answer in English; for captions in 繁體中文 name a vision model: --provider"
        )
    name = tagger_name(choice, base)
    folder = source.find_tagger(name)
    if source.is_tagger(folder):
        if choice.prompt not in (None, "tags", "tags-strict"):
            raise CaptionerInvalid(
                f"{name} gives tags only: --prompt tags or tags-strict. --base with a base that "
                "wants sentences turns them into one."
            )
        return source.open_tagger(folder, name)
    match choice.prompt or "standard":
        case "concise" | "standard" | "detailed" as task:
            return source.open_florence(folder, task, name)
    raise CaptionerInvalid(
        f"{name} writes sentences: --prompt concise, standard or detailed. --base with a base that "
        "wants tags turns them into tags."
    )


def _provider(choice: Choice, check: Check, style: BaseStyle | None) -> Captioner:
    from loraloom.captions.auto.provider import Provider

    if choice.tagger:
        raise CaptionerInvalid("Name a tagger or a provider, not both")
    if choice.threshold is not None:
        raise CaptionerInvalid("--threshold is for taggers; a vision model takes --prompt")
    name = choice.prompt or prompts.name_for(style)
    return Provider(
        Address.parse(choice.provider),
        choice.model,
        prompts.prompt(name, choice.language, check.kind, check.trigger, check.concept),
        key=_key(choice.key_env),
        pace=Pace(choice.per_minute),
        timeout_s=choice.timeout_s,
    )


def _key(variable: str) -> str:
    """The key in the environment variable named; "" where none is. Raises ProviderInvalid."""
    if not variable:
        return ""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,63}", variable):
        raise ProviderInvalid(
            "--key-env takes the name of an environment variable, such as OPENAI_API_KEY, and "
            "never the key itself."
        )
    key = os.environ.get(variable, "").strip()
    if not key:
        raise ProviderInvalid(
            f"The environment variable {variable} is not set; put the key there: export "
            f"{variable}=…"
        )
    return key


def _threshold(choice: Choice) -> float:
    chosen = defaults.tagger()
    usual = chosen.strict if choice.prompt == "tags-strict" else chosen.threshold
    threshold = usual if choice.threshold is None else choice.threshold
    if not LEAST_SHARE <= threshold < 1:
        raise CaptionerInvalid(
            f"--threshold {threshold:g} is not possible: from {LEAST_SHARE:g} to below 1; "
            f"{chosen.threshold:g} is usual, {chosen.strict:g} strict"
        )
    return threshold
