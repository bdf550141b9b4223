"""Clips of the bases of video: how many frames, in which expert, and what is left in the folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from PIL import Image
from safetensors.torch import save_file
from tests import tiny_families
from tests.tiny_families import distance
from typer.testing import CliRunner, Result

from loraloom import cli, families
from loraloom.dataset.prepare import encode
from loraloom.errors import ConfigInvalid, OutputUnwritable
from loraloom.families import latents
from loraloom.generate.output import moments
from loraloom.generate.session import Generator, Request, check_frames

HIGH, LOW = "wan-2.2-a14b-high-noise/lora", "wan-2.2-a14b-low-noise/lora"
WIDE_PX = 400
"""Of several tiles, which are 256 px wide, of CogVideoX 360."""
Base = Callable[[str], Path]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Base:
    made: dict[str, Path] = {}

    def get(name: str) -> Path:
        if name not in made:
            made[name] = tiny_families.save(name, tmp_path_factory.mktemp(name))
        return made[name]

    return get


@pytest.fixture
def adapter(tmp_path: Path) -> Callable[..., Path]:
    """A file in diffusers' layout for the tiny Wan: a LoRA, or with a `magnitude` a DoRA."""

    def write(name: str, seed: int, told: str = "", *, dora: bool = False) -> Path:
        random = torch.Generator().manual_seed(seed)
        stem = "transformer.blocks.0.attn1.to_q"
        tensors = {
            f"{stem}.lora_A.weight": torch.randn(4, 24, generator=random),
            f"{stem}.lora_B.weight": torch.randn(24, 4, generator=random),
        }
        if dora:
            tensors[f"{stem}.lora_magnitude_vector"] = torch.rand(24, generator=random) + 1
        path = tmp_path / name
        save_file(tensors, path, {"modelspec.architecture": told} if told else None)
        return path

    return write


def draw(generator: Generator, **facts: Any) -> list[Image.Image]:
    asked = {"guidance": 3.0, "steps": 2, "frames": 5, **facts}
    return generator.film([Request("a cat", 1, **asked)])[0]


def piped(pipe: Any, width_px: int = 32, count: int = 5) -> list[Image.Image]:
    pipe.set_progress_bar_config(disable=True)
    frames: list[Image.Image] = pipe(
        "a cat", num_frames=count, guidance_scale=3.0, num_inference_steps=2, width=width_px,
        height=32, generator=torch.Generator().manual_seed(1), output_type="pil",
    ).frames[0]  # fmt: skip
    return frames


@pytest.mark.parametrize(
    ("name", "frames", "fps"),
    [("wan", 81, 16), ("hunyuan_video", 49, 24), ("cogvideox_15", 81, 16), ("sd15", 1, None)],
)
def test_what_a_request_leaves_open_is_the_bases_own(
    base: Base, name: str, frames: int, fps: float | None
) -> None:
    generator = Generator(base(name))
    own = generator.complete(Request("a cat", 1, frames=None))
    assert (own.frames, own.fps) == (frames, fps)
    assert generator.complete(own) == own
    still = generator.complete(Request("a cat", 1))
    assert (still.frames, still.fps) == (1, None)


@pytest.mark.parametrize(
    ("name", "frames", "fps", "message"),
    [
        ("wan", 20, None, "frames = 20 .* Wan 2.1, which takes 4 k [+] 1 frames: 17 or 21, for"),
        ("wan", 4, None, "frames = 4 .*: 1 or 5, for example; 1 is a picture"),
        ("wan", -3, None, "frames = -3 is not possible"),
        ("cogvideox", 50, None, "frames = 50 .* takes 8 k [+] 1 frames: 49 or 57, for example"),
        ("sd15", 5, None, "frames = 5 has no effect on Stable Diffusion 1.*draws pictures"),
        ("sd15", None, 8.0, "fps = 8 has no effect on a picture"),
        ("wan", 1, 8.0, "fps = 8 has no effect on a picture"),
        ("wan", 5, 0.0, "fps = 0 is not possible"),
    ],
)
def test_frames_that_a_base_cannot_draw(
    base: Base, name: str, frames: int | None, fps: float | None, message: str
) -> None:
    profile = families.detect(base(name)).profile(base(name))
    with pytest.raises(ConfigInvalid, match=message):
        check_frames(profile, frames, fps)


def test_a_seed_gives_the_same_frames_in_any_batch(base: Base) -> None:
    generator, told = Generator(base("wan")), list[int]()
    asked = [Request("a cat", seed, steps=2, frames=5) for seed in (3, 1)]
    asked.insert(1, Request("a cat", 3, steps=2))  # a picture cannot be drawn in their batch
    together = generator.film(asked, 4, told.append)
    assert told == [2, 2, 1, 1]
    assert [len(clip) for clip in together] == [5, 1, 5]
    for one, clip in zip(asked, together, strict=True):
        assert distance(generator.film([one])[0], clip) <= 1
    assert distance(together[0], together[2]) > 3


@pytest.mark.parametrize(("name", "frames"), [("wan", 5), ("hunyuan_video", 5), ("cogvideox", 9)])
def test_clips_are_decoded_in_tiles_and_pictures_are_not(
    base: Base, name: str, frames: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(latents, "_WHOLE_PX", 32 * WIDE_PX)
    generator, pipe = Generator(base(name)), DiffusionPipeline.from_pretrained(base(name))
    plain = piped(pipe, WIDE_PX, frames)
    pipe.vae.enable_tiling()
    clip = draw(generator, width_px=WIDE_PX, height_px=32, frames=frames)
    assert distance(clip, piped(pipe, WIDE_PX, frames)) <= 1
    assert distance(clip, plain) > 1
    draw(generator, frames=1)
    assert not generator._parts.vae.use_tiling


@pytest.mark.parametrize("dora", [False, True])
def test_each_adapter_works_in_the_expert_that_it_is_for(
    base: Base, adapter: Callable[..., Path], dora: bool
) -> None:
    """Each alone, both together, switched off, and one that names no expert."""
    high, low = adapter("h", 1, HIGH, dora=dora), adapter("l", 2, LOW, dora=dora)
    generator = Generator(base("wan22"))
    plain = draw(generator)
    assert generator.load_adapter(high, "high") == ("high_noise",)
    one = draw(generator)
    assert generator.load_adapter(low, "low") == ("low_noise",)
    both = draw(generator)
    generator.set_scales({"low": 1.0})
    other = draw(generator)
    drawn = [plain, one, other, both]
    pairs = [(a, b) for n, a in enumerate(drawn) for b in drawn[n + 1 :]]
    assert min(distance(a, b) for a, b in pairs) > 1
    generator.set_scales({})
    assert distance(draw(generator), plain) <= 1

    if not dora:
        pipe = DiffusionPipeline.from_pretrained(base("wan22"))
        pipe.load_lora_weights(high, adapter_name="a")
        pipe.load_lora_weights(low, adapter_name="b", load_into_transformer_2=True)
        pipe.set_adapters(["a", "b"])
        assert distance(both, piped(pipe)) <= 1

    silent = Generator(base("wan22"))
    file = adapter("s", 1, dora=dora)
    assert silent.load_adapter(file, "s") == ("high_noise", "low_noise")
    assert silent.load_adapter(file, "again", "low_noise") == ("low_noise",)
    assert silent.load_adapter(file, "once more", "high_noise") == ("high_noise",)
    everywhere = draw_with(silent, "s")
    assert distance(draw_with(silent, "again", "once more"), everywhere) <= 1
    assert distance(draw_with(silent, "once more"), one) <= 1
    assert distance(everywhere, one) > 1


def draw_with(generator: Generator, *names: str) -> list[Image.Image]:
    generator.set_scales(dict.fromkeys(names, 1.0))
    return draw(generator)


def test_an_expert_that_there_is_not(base: Base, adapter: Callable[..., Path]) -> None:
    file = adapter("a.safetensors", 1)
    with pytest.raises(
        ConfigInvalid, match=r"a\.safetensors .* 'low', which .* take high_noise or"
    ):
        Generator(base("wan22")).load_adapter(file, "a", "low")
    with pytest.raises(ConfigInvalid, match=r"one denoiser; leave the expert out"):
        Generator(base("wan")).load_adapter(file, "a", "low_noise")


def generate(base: Path, out: Path, *more: object) -> Result:
    words = ["generate", "--base", base, "--prompt", "a 貓", "--steps", 2, "--frames", 5,
             "--seed", 7, "--out", out, *more]  # fmt: skip
    return CliRunner().invoke(cli.app, [str(word) for word in words])


def test_a_clip_its_poster_and_what_they_tell(
    base: Base, adapter: Callable[..., Path], tmp_path: Path
) -> None:
    out, file = tmp_path / "out", adapter("mine.safetensors", 1)
    told = generate(base("wan"), out, "--count", 2, "--fps", 8, "--adapter", f"{file}:0.5",
                    "--sheet", "--json")  # fmt: skip
    assert told.exit_code == 0, told.output
    lines = [json.loads(line) for line in told.stdout.splitlines()]
    assert [(line["seed"], line["frames"], line["fps"]) for line in lines] == [(7, 5, 8), (8, 5, 8)]
    names = ["00001-seed7.mp4", "00001-seed7.png", "00002-seed8.mp4", "00002-seed8.png",
             "00003-sheet.png"]  # fmt: skip
    assert sorted(path.name for path in out.iterdir()) == names

    with av.open(lines[1]["path"]) as clip:
        (stream,) = clip.streams
        assert (stream.codec.name, stream.pix_fmt, stream.average_rate) == ("h264", "yuv420p", 8)
        facts = json.loads(clip.metadata["comment"])
        frames = [frame.to_image() for frame in clip.decode(video=0)]
    poster = Image.open(lines[1]["poster"])
    assert len(frames) == 5 and frames[0].size == poster.size == (32, 32)
    assert float(np.abs(np.asarray(frames[0], np.int16) - np.asarray(poster)).mean()) < 12
    data = Path(lines[1]["path"]).read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")  # plays before all of it is there

    assert facts == dict(poster.text)
    assert facts["base"] == base("wan").name
    assert (facts["prompt"], facts["seed"], facts["frames"], facts["fps"]) == (
        "a 貓",
        "8",
        "5",
        "8.0",
    )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    assert json.loads(facts["adapters"]) == [
        {"file": "mine.safetensors", "sha256": digest, "scale": 0.5}
    ]
    generator = Generator(base("wan"))
    generator.load_adapter(file, "a")
    generator.set_scales({"a": 0.5})
    (again,) = generator.film([Request("a 貓", 8, steps=2, frames=5)])
    assert distance([poster], again[:1]) <= 1


def test_half_the_memory_gives_nearly_the_same(base: Base, tmp_path: Path) -> None:
    exact, half = tmp_path / "exact", tmp_path / "half"
    for out, precision in ((exact, "float32"), (half, "bfloat16")):
        drawn = generate(base("wan22"), out, "--guidance", 3, "--precision", precision)
        assert drawn.exit_code == 0, drawn.output
    posters = [Image.open(out / "00001-seed7.png") for out in (exact, half)]
    left, right = (np.asarray(poster, np.int16) for poster in posters)
    assert 0 < float(np.abs(left - right).mean()) < 4 < float(left.std())


def test_ctrl_c_keeps_what_is_drawn(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film, calls = Generator.film, list[int]()

    def interrupted(self: Generator, *given: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return film(self, *given)

    monkeypatch.setattr(Generator, "film", interrupted)
    stopped = generate(base("wan"), tmp_path / "out", "--count", 3, "--sheet")
    assert stopped.exit_code == 130
    assert "Stopped: 1 of 3" in stopped.stderr
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["00001-seed7.mp4", "00001-seed7.png", "00002-sheet.png"]


def test_a_wrong_count_is_told_before_the_base_is_loaded(
    base: Base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Generator, "__init__", lambda *_: pytest.fail("loaded"))
    refused = generate(base("wan"), tmp_path / "out", "--frames", 6)
    assert isinstance(refused.exception, ConfigInvalid)
    assert "5 or 9" in str(refused.exception)


def test_a_clip_is_there_whole_or_not_at_all(tmp_path: Path) -> None:
    def frames() -> Any:
        yield Image.new("RGB", (32, 32))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode.write_mp4(tmp_path / "a.mp4", frames(), 8)
    (tmp_path / "file").touch()
    with pytest.raises(OutputUnwritable, match="file"):
        encode.write_mp4(tmp_path / "file/a.mp4", [Image.new("RGB", (32, 32))], 8)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_moments_are_evenly_spaced() -> None:
    assert moments(81) == (0, 20, 40, 60, 80)
    assert moments(5) == (0, 1, 2, 3, 4)
    assert (moments(2), moments(1)) == ((0, 1), (0,))
