"""The findings about captions, each with its words."""

from __future__ import annotations

from collections.abc import Sequence

from loraloom.findings import Finding, Severity

ERROR, WARNING, HINT = Severity.ERROR, Severity.WARNING, Severity.HINT


def missing(item: str) -> Finding:
    return Finding(
        "caption-missing", ERROR, item, "The picture has no caption.", None, None,
        "Say what the picture shows.",
    )  # fmt: skip


def trigger_missing(item: str, trigger: str) -> Finding:
    return Finding(
        "trigger-missing", WARNING, item, f"The caption lacks the trigger '{trigger}'.", None,
        trigger, f"Begin it with '{trigger}'.",
    )  # fmt: skip


def trigger_late(item: str, trigger: str) -> Finding:
    return Finding(
        "trigger-missing", HINT, item, f"The trigger '{trigger}' is missing at the beginning.",
        None, trigger, f"Put '{trigger}' first.",
    )  # fmt: skip


def trigger_variant(item: str, trigger: str, written: str) -> Finding:
    return Finding(
        "trigger-inconsistent", ERROR, item,
        f"The trigger is written '{written}' instead of '{trigger}'.", written, trigger,
        f"Write '{trigger}'.",
    )  # fmt: skip


def trigger_in_some(trigger: str, have: int, total: int) -> Finding:
    return Finding(
        "trigger-inconsistent", ERROR, "",
        f"{have} of {total} captions have the trigger '{trigger}', the others have not.",
        have, total, "Write it into every caption.",
    )  # fmt: skip


def trigger_common(trigger: str, words: Sequence[str]) -> Finding:
    return Finding(
        "trigger-common", WARNING, "",
        f"The trigger '{trigger}' consists of common words ({', '.join(words)}): the base knows "
        "them as something else.", ", ".join(words), "one rare word",
        "Choose a word that means nothing, such as 'ohwx', before the class word.",
    )  # fmt: skip


def trigger_used(trigger: str, words: Sequence[str]) -> Finding:
    return Finding(
        "trigger-common", WARNING, "",
        f"'{', '.join(words)}' of the trigger '{trigger}' is also used apart from it.",
        ", ".join(words), "unique", "Use the word in the trigger only.",
    )  # fmt: skip


def leak(item: str, code: str, text: str, title: str) -> Finding:
    return Finding(
        code, WARNING, item,
        f"'{text}' tells what the adapter should learn by itself ({title}).", text, None,
        f"Remove '{text}'.",
    )  # fmt: skip


def synonym(item: str, said: str, standard: str) -> Finding:
    return Finding(
        "vocabulary", HINT, item, f"'{said}' is not the standard term.", said, standard,
        f"Write '{standard}'.",
    )  # fmt: skip


def vague(item: str, said: str, instead: str) -> Finding:
    return Finding(
        "vocabulary", WARNING, item, f"'{said}' is too vague to learn from.", said, instead,
        f"Say precisely what is seen, such as '{instead}'.",
    )  # fmt: skip


def incomplete(item: str, categories: Sequence[str]) -> Finding:
    names = ", ".join(categories)
    return Finding(
        "incomplete", WARNING, item, f"The caption does not tell: {names}.", names, None,
        f"Add {names}.",
    )  # fmt: skip


def too_brief(item: str, words: int, least: int) -> Finding:
    return Finding(
        "too-brief", WARNING, item, "The caption says too little to tell pictures apart.", words,
        least, "Add what the picture shows: what is done, where, in what light.",
    )  # fmt: skip


def too_long(item: str, measured: str, count: int, most: int) -> Finding:
    return Finding(
        "too-long", WARNING, item, f"The caption has {count} {measured}; more than {most} is "
        "noise.", count, most, "Keep the plain facts in standard terms.",
    )  # fmt: skip


def same_clothing(outfit: str, count: int, total: int, most: float) -> Finding:
    return Finding(
        "same-clothing", WARNING, "",
        f"'{outfit}' is the clothing in {count} of {total} captions: it will be learned as part "
        "of the character.", round(count / total, 2), most,
        "Describe each outfit as it differs, or add pictures in other clothes.",
    )  # fmt: skip


def truncated(item: str, count: int, limit: int, rest: str, *, chunked: bool) -> Finding:
    after = (
        f"from '{rest}' on it goes into another chunk of {limit}, which some trainers drop"
        if chunked
        else f"everything from '{rest}' on is cut off"
    )
    return Finding(
        "truncated", HINT if chunked else WARNING, item,
        f"The caption has {count} tokens of the base's tokenizer; {after}.", count, limit,
        "Shorten it, or move what matters to the beginning.",
    )  # fmt: skip


def mixed(forms: Sequence[str], chosen: str) -> Finding:
    said = ", ".join(f"'{form}'" for form in forms)
    return Finding(
        "vocabulary", HINT, "", f"The set mixes {said} for one thing.", ", ".join(forms), chosen,
        f"Write '{chosen}' everywhere.",
    )  # fmt: skip
