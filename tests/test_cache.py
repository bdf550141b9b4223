from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests import tiny

from loraloom import families
from loraloom.train.batches import Example
from loraloom.train.cache import (
    TensorCache,
    fill_latents,
    fill_texts,
    latent_key,
    load_pixels,
    text_key,
)
from loraloom.train.inputs import prepare as prepare_inputs
from loraloom.train.setup import Setup, prepare

FAMILY = families.get("sd15")


@pytest.fixture
def setup(tmp_path: Path) -> Setup:
    base = tiny.save_base(tmp_path / "base")
    pictures = tiny.save_pictures(tmp_path / "pictures", size=(50, 34))
    config = tiny.config(base, pictures, data={"mirror": True, "shuffle_tags": True})
    return prepare(config, tmp_path / "out")


def _fill(setup: Setup, cache: TensorCache) -> int:
    return sum(stage.done < stage.total for stage in prepare_inputs(setup, cache))


def test_keys_are_of_the_content(setup: Setup) -> None:
    one, two = setup.examples[:2]
    same = Example(Path("moved.png"), one.sha256, "another caption", one.crop)
    keys = {latent_key("vae", e, m) for e in (one, two) for m in (False, True)}
    assert len(keys) == 4 and latent_key("vae", same, False) in keys
    assert latent_key("other", one, False) not in keys
    assert len({text_key("a", 0, "x"), text_key("b", 0, "x"), text_key("a", 1, "x")}) == 3


def test_second_run_encodes_nothing(setup: Setup, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    assert _fill(setup, TensorCache(folder)) > 0
    assert _fill(setup, TensorCache(folder)) == 0


def test_cached_equals_encoded_for_each_picture(setup: Setup, tmp_path: Path) -> None:
    cache = TensorCache(tmp_path / "cache", memory_bytes=0)
    _fill(setup, cache)
    parts = FAMILY.load(setup.base)
    for example in setup.examples:
        for mirrored in (False, True):
            pixels = load_pixels(example, mirrored).unsqueeze(0)
            with torch.no_grad():
                mean, _ = FAMILY.encode_image(parts.vae, pixels)
            assert torch.equal(cache[setup.latent_key(example, mirrored)]["mean"], mean[0])
    for caption in ("", setup.examples[0].caption):
        with torch.no_grad():
            wanted = FAMILY.encode_text(parts, [caption])[0].tensors["context"]
        assert torch.equal(cache[setup.text_key(caption)]["context"], wanted)


def test_every_caption_that_a_step_can_draw_is_there(setup: Setup, tmp_path: Path) -> None:
    from loraloom.train.batches import pick

    cache = TensorCache(tmp_path / "cache")
    _fill(setup, cache)
    drawn = {pick(setup.examples[0], setup.config.data, 0, s, 0).caption for s in range(200)}
    assert len(drawn) > 3 and all(setup.text_key(caption) in cache for caption in drawn)


def test_broken_file_is_encoded_again(setup: Setup, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    _fill(setup, TensorCache(folder))
    victim = next(folder.iterdir())
    content = victim.read_bytes()
    victim.write_bytes(content[:20])
    assert _fill(setup, TensorCache(folder)) == 1
    assert victim.read_bytes() == content


def test_memory_limit(tmp_path: Path) -> None:
    cache = TensorCache(tmp_path, memory_bytes=8)
    cache.put("small", {"x": torch.zeros(2)})
    cache.put("large", {"x": torch.zeros(3)})
    for path in tmp_path.iterdir():
        path.unlink()
    assert "small" in cache and "large" not in cache


def test_mirrored_pixels(setup: Setup) -> None:
    plain, mirrored = (load_pixels(setup.examples[0], side) for side in (False, True))
    assert torch.equal(mirrored, plain.flip(-1))
    assert plain.min() >= -1 and plain.max() <= 1


def test_nothing_wanted(tmp_path: Path) -> None:
    cache = TensorCache(tmp_path)
    parts = FAMILY.load(tiny.save_base(tmp_path / "base"), only=("vae",))
    assert [s.total for s in fill_latents(cache, FAMILY, parts.vae, {})] == [0]
    assert [s.total for s in fill_texts(cache, FAMILY, parts, 0, {})] == [0]
