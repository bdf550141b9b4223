"""What a picture of the starter world can show, and how it is said.

A `Scene` is an exact description; `caption` words it in the field's caption order (view,
expression, eye direction, gesture, clothing, accessory, background, lighting, style). An
attribute is said, asked and judged only where it can be seen: `visible` is the one rule.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

COLOURS = {
    "white": (244, 241, 234),
    "black": (46, 44, 52),
    "red": (214, 58, 56),
    "blue": (58, 104, 205),
    "green": (66, 158, 84),
    "yellow": (244, 200, 62),
}
HAIR_COLOURS = {
    "black hair": (38, 34, 42),
    "brown hair": (106, 64, 38),
    "blonde hair": (244, 210, 110),
    "red hair": (222, 84, 32),
    "gray hair": (168, 170, 178),
}
SKINS = {
    "fair skin": (250, 218, 196),
    "tan skin": (222, 168, 124),
    "dark skin": (134, 86, 60),
}

ATTRIBUTES: dict[str, tuple[str, ...]] = {
    "subject": (
        "woman",
        "man",
        "cat",
        "dog",
        "mug",
        "apple",
        "book",
        "umbrella",
        "lamp",
        "teapot",
        "chair",
        "car",
    ),
    "skin": tuple(SKINS),
    "hair_colour": tuple(HAIR_COLOURS),
    "hair_style": ("short hair", "long hair", "ponytail", "bun", "curly hair"),
    "colour": tuple(COLOURS),
    "framing": ("close-up", "upper body", "full body"),
    "view": ("front view", "three quarter view", "side profile"),
    "expression": (
        "neutral expression",
        "gentle smile",
        "laughing",
        "surprised expression",
        "angry expression",
    ),
    "gaze": ("looking at viewer", "looking away", "eyes closed"),
    "gesture": ("", "waving hand", "arms raised", "hands on hips"),
    "garment": ("t-shirt", "hoodie", "button-up shirt", "striped sweater", "suit jacket"),
    "garment_colour": tuple(COLOURS),
    "accessory": ("", "glasses", "sunglasses", "scarf", "headphones", "hat"),
    "background": (
        "white background",
        "gray background",
        "gradient background",
        "park background",
        "beach",
        "city street",
        "bedroom",
        "night city",
    ),
    "lighting": (
        "natural lighting",
        "golden hour",
        "cool lighting",
        "dramatic lighting",
        "neon lighting",
    ),
    "style": ("flat color style", "comic style", "watercolor style", "paper cutout style"),
}
"""Every attribute with the values that the base model has seen. An empty value is not said."""

HELD_OUT: dict[str, tuple[str, ...]] = {
    "hair_colour": ("blue hair", "pink hair", "green hair"),
    "hair_style": ("twin buns", "mohawk"),
    "mark": ("star mark", "cheek stripes", "heart mark"),
    "headpiece": ("horns", "cat ears", "antennae"),
    "pattern": ("stripes", "dots", "star emblem"),
    "style": ("blueprint style", "stained glass style"),
}
"""Features that the base model's denoiser and text encoder never meet: an adapter teaches them."""

HELD_OUT_COLOURS = {
    "blue hair": (52, 118, 226),
    "pink hair": (240, 120, 172),
    "green hair": (64, 176, 108),
}

CAPTION_ORDER = (
    "framing",
    "view",
    "expression",
    "gaze",
    "gesture",
    "garment",
    "accessory",
    "background",
    "lighting",
    "style",
)
COLOURLESS_STYLE = "blueprint style"
NEEDS_COLOUR = ("skin", "hair_colour", "colour", "garment_colour", "mark")
"""Attributes that a blueprint, drawn in blues alone, does not show."""
PEOPLE = ("woman", "man")
ANIMALS = ("cat", "dog")


@dataclass(frozen=True)
class Scene:
    """One picture: attribute values by name, and the seed of everything that is not described."""

    values: Mapping[str, str]
    seed: int = 0

    def __getitem__(self, name: str) -> str:
        return self.values.get(name, "")

    @property
    def is_person(self) -> bool:
        return self["subject"] in PEOPLE

    def with_values(self, **values: str) -> Scene:
        return replace(self, values={**self.values, **values})


@dataclass(frozen=True)
class Identity:
    """What stays the same in every picture of one subject, and the words that name it."""

    name: str
    trigger: str
    values: Mapping[str, str]
    held_out: tuple[str, ...] = field(default=())
    """The attributes among `values` that the base has never seen with this value."""

    @property
    def class_word(self) -> str:
        return self.values["subject"]


CHARACTERS = (
    Identity(
        "Mira",
        "ohwx woman",
        {
            "subject": "woman",
            "skin": "tan skin",
            "hair_colour": "blue hair",
            "hair_style": "twin buns",
            "mark": "star mark",
            "headpiece": "horns",
        },
        ("hair_colour", "hair_style", "mark", "headpiece"),
    ),
    Identity(
        "Bram",
        "zvkr man",
        {
            "subject": "man",
            "skin": "fair skin",
            "hair_colour": "green hair",
            "hair_style": "mohawk",
            "mark": "cheek stripes",
            "headpiece": "antennae",
        },
        ("hair_colour", "hair_style", "mark", "headpiece"),
    ),
    Identity(
        "Noor",
        "qelu woman",
        {
            "subject": "woman",
            "skin": "dark skin",
            "hair_colour": "pink hair",
            "hair_style": "short hair",
            "mark": "heart mark",
            "headpiece": "cat ears",
        },
        ("hair_colour", "mark", "headpiece"),
    ),
)
OBJECTS = (
    Identity(
        "Zebra mug",
        "ohwx mug",
        {"subject": "mug", "colour": "yellow", "pattern": "stripes"},
        ("pattern",),
    ),
    Identity(
        "Dotted teapot",
        "zvkr teapot",
        {"subject": "teapot", "colour": "blue", "pattern": "dots"},
        ("pattern",),
    ),
)


def visible(scene: Scene, name: str) -> bool:
    """Whether attribute `name` can be seen in `scene`: what cannot is neither said nor judged."""
    person = scene.is_person
    near = scene["framing"] in ("close-up", "upper body")
    if name in NEEDS_COLOUR and scene["style"] == COLOURLESS_STYLE:
        return False
    match name:
        case "subject" | "background" | "lighting" | "style":
            return True
        case "colour" | "pattern":
            return not person
        case "expression" | "mark":
            return person and near
        case "gaze":
            return person and near and scene["accessory"] != "sunglasses"
        case "gesture":
            return person and scene["framing"] != "close-up"
        case "hair_style":
            return person and scene["accessory"] != "hat"
        case _:
            return person


def sample_scene(rng: random.Random, *, held_out: bool = False) -> Scene:
    """Draw a scene; with `held_out`, half of its features come from what the base never saw."""
    subject = rng.choices(
        ATTRIBUTES["subject"], weights=[9, 9, *([1] * (len(ATTRIBUTES["subject"]) - 2))]
    )[0]
    values = {name: rng.choice(options) for name, options in ATTRIBUTES.items()}
    values["subject"] = subject
    values["accessory"] = rng.choice(("", "", *ATTRIBUTES["accessory"]))
    values["lighting"] = rng.choice(("natural lighting", *ATTRIBUTES["lighting"]))
    if subject in PEOPLE:
        values["framing"] = rng.choices(ATTRIBUTES["framing"], weights=[4, 4, 3])[0]
    if held_out:
        for name, options in HELD_OUT.items():
            if rng.random() < 0.5:
                values[name] = rng.choice(options)
    scene = Scene(values, rng.getrandbits(32))
    if values["framing"] == "close-up":
        scene = scene.with_values(gesture="")
    return scene


def identity_scene(identity: Identity, rng: random.Random) -> Scene:
    """Draw a scene of one held-out subject, in the style that its set is drawn in."""
    scene = sample_scene(rng)
    framing = rng.choices(ATTRIBUTES["framing"], weights=[5, 4, 2])[0]
    accessory = rng.choice(("", "", "", "glasses", "scarf", "headphones"))
    scene = scene.with_values(
        framing=framing, accessory=accessory, style="flat color style", **identity.values
    )
    return scene.with_values(gesture="") if framing == "close-up" else scene


def phrase(scene: Scene, name: str) -> str:
    """How one attribute is said in a caption."""
    value = scene[name]
    if name == "garment" and visible(scene, "garment_colour"):
        return f"{scene['garment_colour']} {value}"
    return value


def identity_phrase(scene: Scene) -> str:
    """How the subject itself is said: "woman, tan skin, brown hair, ponytail" or "red mug"."""
    if not scene.is_person:
        colour = f"{scene['colour']} " if visible(scene, "colour") else ""
        return f"{colour}{scene['subject']}"
    names = ("subject", "skin", "hair_colour", "hair_style")
    return ", ".join(scene[n] for n in names if visible(scene, n))


def context_phrases(scene: Scene) -> list[str]:
    """Everything around the subject, in caption order, only what can be seen."""
    said = (phrase(scene, name) for name in CAPTION_ORDER if visible(scene, name))
    return [words for words in said if words]


def caption(scene: Scene, subject: str | None = None) -> str:
    """The exact caption; `subject` (a trigger, say) stands in for what the identity binds."""
    return ", ".join([subject or identity_phrase(scene), *context_phrases(scene)])
