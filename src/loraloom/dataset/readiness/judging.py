"""From measures to findings: every threshold is here, with its reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from loraloom.captions import rules
from loraloom.dataset.buckets import choose_bucket, plan_crop
from loraloom.dataset.readiness import colour
from loraloom.dataset.readiness.duplicates import SAME, Pair, groups
from loraloom.dataset.readiness.exposure import Exposure
from loraloom.dataset.readiness.listing import Picture
from loraloom.dataset.readiness.picture import Measures
from loraloom.families.info import FrameRule
from loraloom.findings import Finding, Severity
from loraloom.kinds import Kind, clips, info

SMALL_PX = 512
"""Below this, document 001 asks for another picture."""
ENLARGED, MUCH_ENLARGED = 1.05, 1.5
BLUR_PX = 1.5
"""Edges as wide as this fill half a latent cell of 8 px: the base learns them as softness."""
VERY_BLURRED_PX = 3.0
DARK = 0.42
"""Where not even 0.5 % of the pixels are brighter, three stops of light are missing."""
WASHED_OUT, WASHED_OUT_MEAN = 0.6, 0.86
LOST_SOME, WHITE_MEAN = 0.2, 0.985
"""A pale thing on white paper is bright too, but it is there and nothing in it is clipped."""
BLOWN = 0.15
"""Share of the picture; lamps, reflections and a strip of sky have less."""
LOST, LOST_MEAN = 0.3, 0.76
"""Drawings in pure colours have many that are clipped, but are not so bright."""
GOOD_JPEG, POOR_JPEG = 95, 80
CAST, CAST_SHARE, CAST_PICTURES = 8.0, 0.55, 8


@dataclass(frozen=True)
class Native:
    """What a base draws without being stretched."""

    title: str
    side_px: int
    multiple_px: int
    max_aspect: float
    prompt_style: rules.Style
    frames: FrameRule | None = None
    """Of a base of video."""


def judge_picture(name: str, found: Measures, native: Native, kind: Kind) -> Iterator[Finding]:
    """Everything that is wrong with one picture by itself."""
    yield from _resolution(name, found, native)
    yield from _blur(name, found.edge_width_px)
    yield from _exposure(name, found.exposure)
    yield from _jpeg(name, found.jpeg_quality)
    if kind is Kind.CHARACTER and found.faces is not None and found.faces > 1:
        yield Finding(
            "faces",
            Severity.WARNING,
            name,
            f"{found.faces} faces: the adapter cannot know which one it is to learn.",
            float(found.faces),
            1.0,
            "Crop it to the one character, or take it out.",
        )


def judge_cast(tints: Sequence[colour.Tint]) -> Iterator[Finding]:
    """A tint of the whole set."""
    if len(tints) < CAST_PICTURES:
        return
    found = colour.cast(list(tints))
    if found.strength >= CAST and found.share >= CAST_SHARE:
        yield Finding(
            "colour-cast",
            Severity.WARNING,
            "",
            f"{found.share:.0%} of the pictures lean to {found.name}: the adapter will tint "
            "everything.",
            round(found.strength, 1),
            CAST,
            "Correct the white balance, or add pictures in other light.",
        )


def judge_size(count: int, kind: Kind, *, moving: bool = False) -> Iterator[Finding]:
    """Too few or too many pictures for the kind, or clips."""
    if moving:
        yield from _judge_clips_size(count)
        return
    sizes, few = info(kind), Severity.WARNING
    if count < sizes.recommended_from:
        if count >= sizes.minimum:
            few = Severity.HINT
        wanted = f"{sizes.recommended_from} to {sizes.recommended_to}"
        yield Finding(
            "too-few",
            few,
            "",
            f"{count} pictures; {wanted} are recommended for this kind, {sizes.minimum} at least.",
            float(count),
            float(sizes.minimum),
            f"Add {sizes.recommended_from - count} more pictures that differ from these.",
        )
    if count > sizes.maximum:
        yield Finding(
            "too-many",
            Severity.WARNING,
            "",
            f"{count} pictures; beyond {sizes.maximum} a set of this kind gains nothing.",
            float(count),
            float(sizes.maximum),
            f"Keep the best {sizes.recommended_to} to {sizes.maximum}.",
        )


def _judge_clips_size(count: int) -> Iterator[Finding]:
    sizes = clips()
    if count < sizes.recommended_from:
        wanted = f"{sizes.recommended_from} to {sizes.recommended_to}"
        yield Finding(
            "too-few",
            Severity.WARNING if count < sizes.minimum else Severity.HINT,
            "",
            f"{count} clips; {wanted} are recommended, {sizes.minimum} at least.",
            float(count),
            float(sizes.minimum),
            f"Add {sizes.recommended_from - count} more clips that differ from these.",
        )
    if count > sizes.maximum:
        yield Finding(
            "too-many",
            Severity.WARNING,
            "",
            f"{count} clips; beyond {sizes.maximum} a set gains nothing.",
            float(count),
            float(sizes.maximum),
            f"Keep the best {sizes.recommended_to} to {sizes.maximum}.",
        )


@dataclass(frozen=True)
class Copy:
    """A picture that another one is kept for; both by name."""

    kept: str
    name: str
    difference: float | None
    """None where they are copies by way of a third."""
    mirrored: bool


def find_copies(
    pictures: Sequence[Picture], sizes: Sequence[tuple[int, int]], pairs: Sequence[Pair]
) -> Iterator[Copy]:
    """Each copy but the best of its group; `sizes`: (pixels, bytes)."""
    inside = [p for p in pairs if pictures[p.first].concept == pictures[p.second].concept]
    direct = {frozenset((pair.first, pair.second)): pair for pair in inside}
    for group in groups(inside):
        kept = max(group, key=lambda number: (*sizes[number], -number))
        for number in group:
            if number != kept:
                pair = direct.get(frozenset((number, kept)))
                yield Copy(
                    pictures[kept].name,
                    pictures[number].name,
                    round(pair.difference, 3) if pair else None,
                    bool(pair and pair.mirrored),
                )


def judge_copy(copy: Copy) -> Finding:
    """What is told of it."""
    how = "mirrored copy" if copy.mirrored else "near-duplicate"
    return Finding(
        "near-duplicate",
        Severity.WARNING,
        copy.name,
        f"A {how} of {copy.kept}: it would count twice.",
        copy.difference,
        SAME,
        f"Take it out and keep {copy.kept}, the largest.",
    )


def _resolution(name: str, found: Measures, native: Native) -> Iterator[Finding]:
    size = found.width_px, found.height_px
    bucket = choose_bucket(
        *size,
        resolution_px=native.side_px,
        multiple=native.multiple_px,
        max_aspect=native.max_aspect,
    )
    crop = plan_crop(*size, bucket)
    factor = max(crop.resized_px[0] / size[0], crop.resized_px[1] / size[1])
    small = min(size) < min(SMALL_PX, native.side_px) / ENLARGED
    if factor <= ENLARGED and not small:
        return
    severe = small or factor > MUCH_ENLARGED
    yield Finding(
        "low-resolution",
        Severity.WARNING if severe else Severity.HINT,
        name,
        f"{size[0]} × {size[1]} px: would be enlarged {factor:.1f} times for {native.title}."
        if factor > ENLARGED
        else f"{size[0]} × {size[1]} px: its short side is small.",
        float(min(size)),
        float(native.side_px),
        "Use a larger original, or upscale it.",
    )


def _blur(name: str, width_px: float | None) -> Iterator[Finding]:
    if width_px is not None and width_px > BLUR_PX:
        yield Finding(
            "blur",
            Severity.WARNING if width_px > VERY_BLURRED_PX else Severity.HINT,
            name,
            f"Even its sharpest edges are soft: {width_px:.1f} px wide.",
            round(width_px, 2),
            BLUR_PX,
            "Use a sharp picture; sharpening this one brings nothing back.",
        )


def _exposure(name: str, found: Exposure) -> Iterator[Finding]:
    if found.brightest < DARK:
        what, value, limit = "Too dark: nothing in it is bright.", found.brightest, DARK
    elif found.blown > BLOWN:
        what, value, limit = f"Too bright: {found.blown:.0%} is burnt out.", found.blown, BLOWN
    elif found.lost > LOST and found.mean > LOST_MEAN:
        what, value, limit = f"Too bright: {found.lost:.0%} lost a colour.", found.lost, LOST
    elif found.darkest > WASHED_OUT and found.mean > (
        WASHED_OUT_MEAN if found.lost > LOST_SOME else WHITE_MEAN
    ):
        what, value, limit = "Too bright: nothing in it is dark.", found.darkest, WASHED_OUT
    else:
        return
    fix = "Correct the exposure from the original, or take it out."
    yield Finding("exposure", Severity.WARNING, name, what, round(value, 3), limit, fix)


def _jpeg(name: str, quality: int | None) -> Iterator[Finding]:
    if quality is not None and quality < GOOD_JPEG:
        yield Finding(
            "jpeg-quality",
            Severity.WARNING if quality < POOR_JPEG else Severity.HINT,
            name,
            f"Saved as JPEG of quality {quality}: the adapter learns its blocks and smears.",
            float(quality),
            float(GOOD_JPEG),
            "Use the original, or export it as PNG or as JPEG of quality 95 or more.",
        )
