"""The word lists: whole, consistent, and the same in both languages."""

import re
from pathlib import Path

import pytest

from loraloom.captions import rules, vocabulary
from loraloom.kinds import Kind

STANDARD = {
    "view": ["front view", "three quarter view", "side profile", "from above", "from below"],
    "expression": ["gentle smile", "laughing", "serious expression", "surprised expression",
                   "neutral expression", "winking", "pouting", "smirking", "yawning"],
    "eye_direction": ["looking at viewer", "looking away", "looking down", "looking up",
                      "eyes closed"],
    "lighting": ["natural lighting", "studio lighting", "golden hour", "dramatic lighting",
                 "soft lighting", "candlelight", "screen glow", "rim lighting"],
    "simple_background": ["simple background", "white background", "gray background", "bokeh"],
    "place": ["garden", "forest", "city street", "cafe interior", "night city", "rooftop"],
    "clothing": ["white t-shirt", "graphic tee", "hoodie", "hanbok", "kimono", "cheongsam"],
    "accessory": ["glasses", "scrunchie", "shoulder bag", "hairpin"],
    "pose": ["arms crossed", "peace sign", "sitting cross-legged", "on stomach"],
    "interaction": ["holding phone", "drinking coffee", "applying makeup"],
    "action": ["head tilted", "tucking hair behind ear", "covering mouth"],
}  # fmt: skip


@pytest.mark.parametrize("category", STANDARD)
def test_standard_terms_are_known(category: str) -> None:
    assert set(STANDARD[category]) <= set(vocabulary.categories("en")[category].terms)


@pytest.mark.parametrize(
    ("said", "standard"),
    [("laugh", "laughing"), ("laughter", "laughing"), ("3/4 view", "three quarter view"),
     ("natural illumination", "natural lighting"), ("笑聲", "大笑")],
)  # fmt: skip
def test_synonyms_lead_to_the_standard(said: str, standard: str) -> None:
    terms = vocabulary.index()[vocabulary.key_of(said)]
    assert [(term.standard, term.role) for term in terms] == [(standard, "other")]


@pytest.mark.parametrize(
    ("said", "standard", "role"),
    [("closed eyes", "eyes closed", "near"), ("side view", "side profile", "near"),
     ("natural light", "natural lighting", "same"), ("low angle", "from below", "same"),
     ("grey backdrop", "gray background", "same"), ("tshirt", "t-shirt", "also"),
     ("看著鏡頭", "看向觀者", "near"), ("檯燈光", "燈罩光", "same")],
)  # fmt: skip
def test_what_is_nearly_the_standard(said: str, standard: str, role: str) -> None:
    terms = vocabulary.index()[vocabulary.key_of(said)]
    assert [(term.standard, term.role) for term in terms] == [(standard, role)]


@pytest.mark.parametrize("word", ["happy", "posing", "wearing clothes", "looking", "開心"])
def test_vague_words_have_something_better(word: str) -> None:
    vague = [t for t in vocabulary.index()[vocabulary.key_of(word)] if t.role == "vague"]
    assert vague
    assert any(
        t.role == "standard" for t in vocabulary.index()[vocabulary.key_of(vague[0].standard)]
    )


def test_no_synonym_of_one_term_is_the_standard_of_another() -> None:
    for key, terms in vocabulary.index().items():
        roles = {term.role for term in terms if term.category != "vague"}
        assert not {"standard", "other"} <= roles, key


def test_every_english_term_has_a_chinese_counterpart() -> None:
    english, chinese = vocabulary.categories("en"), vocabulary.categories("zh-TW")
    assert english.keys() == chinese.keys()
    for name in english.keys() - {"vague"}:
        assert set(english[name].terms) == set(chinese[name].english.values()), name


def test_both_languages_have_the_same_features_and_concepts() -> None:
    assert vocabulary.features("en").keys() == vocabulary.features("zh-TW").keys()
    named = {c.english for c in vocabulary.concepts()}
    per_concept = [sum(c.english == name for c in vocabulary.concepts()) for name in named]
    assert set(per_concept) == {len(vocabulary.LANGUAGES)}


@pytest.mark.parametrize("kind", Kind)
def test_kinds_exclude_known_features(kind: Kind) -> None:
    assert set(rules.of(kind).exclude) <= vocabulary.features("en").keys()


def test_assumed_terms_are_standard() -> None:
    for language in vocabulary.LANGUAGES:
        known = vocabulary.categories(language)
        for category, term in rules.assumptions(language).items():
            names = ("simple_background",) if category == "background" else (category,)
            assert any(term in known[name].terms for name in names), term


@pytest.mark.parametrize(
    ("base", "style"),
    [("sd15", "tags"), ("SDXL", "tags"), ("sdxl modern", "hybrid"), ("Pony", "tags"),
     ("flux", "sentences"), ("SD3.5", "sentences"), ("Wan 2.1", "sentences"),
     ("starter", "tags"), ("kolors", "hybrid"), ("Qwen-VL", "sentences")],
)  # fmt: skip
def test_caption_style_of_bases(base: str, style: str) -> None:
    assert rules.base_style(base).style == style


def test_video_bases() -> None:
    assert all(rules.base_style(base).video for base in ("wan", "hunyuan", "cogvideox"))


def test_no_word_list_in_python() -> None:
    package = Path(vocabulary.__file__).parent
    for path in package.glob("*.py"):
        assert not re.search(r'"(?:brown hair|watercolor|golden hour)"', path.read_text()), path
