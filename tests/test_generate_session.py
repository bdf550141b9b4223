import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from tests import tiny_families, tiny_lora

from loraloom.adapters import file
from loraloom.adapters.state import LoraWeights, from_peft
from loraloom.errors import (
    AdapterKeysUnknown,
    AdapterNameUnknown,
    ConfigInvalid,
    PromptEmpty,
    SizeInvalid,
)
from loraloom.generate import session
from loraloom.generate.session import Generator, Request


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_lora.base_folder(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapters(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("adapters")
    paths = [folder / "first.safetensors", folder / "second.safetensors"]
    for i, path in enumerate(paths):
        pipe = tiny_lora.pipeline()
        tiny_lora.inject(pipe.unet, tiny_lora.BLOCKS, rank=2, alpha=4, seed=i)
        state = {"unet": from_peft(pipe.unet)}
        if i == 1:
            tiny_lora.inject(pipe.text_encoder, tiny_lora.CLIP, rank=2, alpha=4, seed=i)
            state["text_encoder"] = from_peft(pipe.text_encoder)
        file.write(path, state, "kohya" if i else "diffusers", {})
    return paths


@pytest.fixture
def generator(base: Path) -> Iterator[Generator]:
    yield Generator(base)


def request(seed: int = 1, prompt: str = "a cat", steps: int = 2) -> Request:
    return Request(prompt, seed, steps=steps)


def distance(a: Image.Image, b: Image.Image) -> float:
    left, right = (np.asarray(picture, dtype=np.int16) for picture in (a, b))
    return float(np.abs(left - right).max())


def test_a_seed_draws_the_same_in_any_batch_and_order(generator: Generator) -> None:
    seeds = [3, 1, 2]
    together = generator.generate([request(s) for s in seeds], batch_size=3)
    alone = generator.generate([request(s) for s in seeds], batch_size=1)
    assert all(distance(a, b) <= 1 for a, b in zip(together, alone, strict=True))
    assert distance(together[0], together[1]) > 3


def test_mixed_settings_keep_the_order_of_requests(generator: Generator) -> None:
    wanted = [request(1), Request("a cat", 1, steps=2, width_px=16, height_px=8), request(2)]
    sizes = [picture.size for picture in generator.generate(wanted)]
    assert sizes == [(8, 8), (16, 8), (8, 8)]


def test_adapters_are_scaled_mixed_and_switched_off(
    generator: Generator, adapters: list[Path]
) -> None:
    def draw() -> Image.Image:
        return generator.generate([request()])[0]

    plain = draw()
    generator.load_adapter(adapters[0], "mia v1.0")
    first = draw()
    generator.load_adapter(adapters[1], "style")
    both = draw()
    assert generator.adapters == ("mia v1.0", "style")
    assert distance(first, plain) > 3 and distance(both, first) > 3
    generator.set_scales({"mia v1.0": 1.0})
    assert distance(draw(), first) <= 1
    generator.set_scales({"mia v1.0": 0.0, "style": 0.0})
    assert distance(draw(), plain) <= 1
    generator.set_scales({"mia v1.0": 0.5})
    assert distance(draw(), first) > 1
    generator.set_scales({"mia v1.0": 1.0, "style": 1.0})
    assert distance(draw(), both) <= 1


def test_adapter_for_another_base_is_refused_before_loading(
    generator: Generator, adapters: list[Path], tmp_path: Path
) -> None:
    state, _ = file.read(adapters[0])
    state["unet"]["down_blocks.9.attentions.0.proj_in"] = LoraWeights(
        *(next(iter(state["unet"].values())).__dict__[half].clone() for half in ("down", "up")),
        alpha=1.0,
    )
    path = tmp_path / "other.safetensors"
    file.write(path, state, "kohya", {})
    with pytest.raises(AdapterKeysUnknown, match=r"other\.safetensors"):
        generator.load_adapter(path, "other")
    assert generator.adapters == ()


def test_an_adapter_of_other_widths_is_refused_before_loading(
    generator: Generator, adapters: list[Path], tmp_path: Path
) -> None:
    state, _ = file.read(adapters[0])
    name = min(state["unet"])
    lora = state["unet"][name]
    wider = torch.cat([lora.down, lora.down], dim=1)
    state["unet"][name] = LoraWeights(wider, lora.up, lora.alpha)
    path = tmp_path / "wide.safetensors"
    file.write(path, state, "kohya", {})
    inside = rf"unet\.{re.escape(name)}: \({len(lora.up)}, {wider.shape[1]}"
    with pytest.raises(AdapterKeysUnknown, match=rf"widths of 1 do not.*\n  {inside}"):
        generator.load_adapter(path, "wide")
    assert generator.adapters == ()


def test_a_short_prompt_draws_what_the_pipeline_draws(generator: Generator, base: Path) -> None:
    pipe = StableDiffusionPipeline.from_pretrained(base, safety_checker=None)
    pipe.set_progress_bar_config(disable=True)
    wanted = pipe(
        "a cat", negative_prompt="a dog", num_inference_steps=2, guidance_scale=5.0,
        width=8, height=8, generator=torch.Generator().manual_seed(1),
    ).images[0]  # fmt: skip
    drawn = generator.generate([Request("a cat", 1, negative_prompt="a dog", steps=2)])[0]
    assert distance(drawn, wanted) <= 1


def test_words_after_the_token_limit_count(generator: Generator) -> None:
    start = "ab " * 50  # two tokens a word
    drawn = generator.generate([request(prompt=start + word) for word in ("cat", "dog", "cat")])
    assert distance(drawn[0], drawn[2]) == 0
    assert distance(drawn[0], drawn[1]) > 0


def test_clip_skip_draws_as_the_shortened_encoder_does(generator: Generator, base: Path) -> None:
    skipping = Request("a cat", 1, steps=2, clip_skip=1)
    drawn, plain = generator.generate([skipping, request()])
    shortened = Generator(base)
    del shortened._parts.text_encoder.encoder.layers[-1]
    assert distance(drawn, shortened.generate([request()])[0]) <= 1
    assert distance(drawn, plain) > 1


def test_it_draws_where_training_would_run(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "choose_device", lambda: "meta")
    assert Generator(base)._parts.denoiser.device.type == "meta"
    assert Generator(base, device="cpu")._parts.denoiser.device.type == "cpu"


def test_names_and_requests_are_checked(generator: Generator, adapters: list[Path]) -> None:
    generator.load_adapter(adapters[0], "a")
    with pytest.raises(AdapterNameUnknown, match="already loaded"):
        generator.load_adapter(adapters[1], "a")
    with pytest.raises(AdapterNameUnknown, match="'b'"):
        generator.set_scales({"b": 1.0})
    with pytest.raises(PromptEmpty):
        generator.generate([request(prompt="  ")])
    with pytest.raises(SizeInvalid, match="-31 px"):
        generator.generate([request(), Request("a", 1, height_px=-31)])


def test_what_a_request_leaves_open_is_the_bases_own(generator: Generator, tmp_path: Path) -> None:
    plain = generator.complete(Request("a cat", 1))
    assert (plain.guidance, plain.steps, plain.width_px, plain.height_px) == (5.0, 20, 8, 8)
    flux = Generator(tiny_families.save("flux", tmp_path / "flux"))
    own = flux.complete(Request("a cat", 1, height_px=16))
    assert (own.guidance, own.steps, own.width_px, own.height_px) == (3.5, 28, 32, 16)
    told = flux.complete(Request("a cat", 1, guidance=0.0, steps=1))
    assert (told.guidance, told.steps) == (0.0, 1)
    with pytest.raises(ConfigInvalid, match=r"negative prompt has no effect on FLUX\.1 dev"):
        flux.generate([Request("a cat", 1, negative_prompt="a dog")])
    with pytest.raises(ConfigInvalid, match=r"clip_skip = 1 has no effect on FLUX\.1 dev"):
        flux.generate([Request("a cat", 1, clip_skip=1)])
    with pytest.raises(SizeInvalid, match="multiple of 8"):
        flux.generate([Request("a cat", 1, width_px=12)])


def test_texts_of_any_length_are_drawn_together_and_apart_alike(tmp_path: Path) -> None:
    """Where a pipeline takes lists of texts, and where it takes masks."""
    for family in ("z_image", "qwen_image"):
        drawing = Generator(tiny_families.save(family, tmp_path / family))
        wanted = [request(1, "a cat"), request(2, "a much longer cat"), request(3, "a dog")]
        together = drawing.generate(wanted, batch_size=3)
        apart = drawing.generate(wanted, batch_size=1)
        assert all(distance(a, b) <= 1 for a, b in zip(together, apart, strict=True))
