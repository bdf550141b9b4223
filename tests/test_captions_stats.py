"""Counts over a set of captions."""

from loraloom.captions.stats import count, outfits, several_hairstyles

SET = (
    "ohwx woman, front view, laughing, eyes closed, white t-shirt, park background, golden hour",
    "ohwx woman, Front_View, gentle smile, looking up, White T-Shirt, white background, soft light",
    "ohwx woman, ponytail, side profile, looking away, red dress, beach, backlight",
)


def test_counts() -> None:
    found = count(SET, "ohwx woman")
    assert found.captions == 3
    assert found.phrases["front view"] == 1 and found.phrases["front_view"] == 1
    assert found.categories["view"] == found.categories["clothing"] == 3
    assert found.terms["view"] == {"front view": 2, "side profile": 1}
    assert found.outfits == {"white t shirt": 2, "red dress": 1}
    assert found.simple_background_share == 0.33


def test_empty_set() -> None:
    found = count([])
    assert (found.captions, found.phrases, found.simple_background_share) == (0, {}, None)


def test_assumed_clothing_is_no_outfit() -> None:
    assert outfits(["x, casual clothing", "x，休閒服"]) == {}


def test_hairstyles() -> None:
    assert not several_hairstyles(SET)
    assert several_hairstyles(["x, ponytail", "x, braided hair", "x, hat"])
    assert not several_hairstyles(["x, ponytail", "x, ponytail"])
