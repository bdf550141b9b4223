import errno
import hashlib
import json
import os
import pickle
import re
import struct
from pathlib import Path

import pytest
import torch
from diffusers import StableDiffusionPipeline
from safetensors import safe_open
from safetensors.torch import save, save_file
from tests import tiny_lora
from tests.test_adapters_keys import same

from loraloom.adapters import file
from loraloom.adapters.check import ModuleShapes, check_keys, weight_shapes
from loraloom.adapters.keys import to_diffusers
from loraloom.adapters.state import AdapterState, LoraWeights, from_peft, with_unit_scale
from loraloom.errors import AdapterKeysUnknown, AdapterUnreadable, DiskFull, OutputUnwritable
from loraloom.families.info import Layout


def shapes_of(pipe: StableDiffusionPipeline) -> ModuleShapes:
    return {"unet": weight_shapes(pipe.unet), "text_encoder": weight_shapes(pipe.text_encoder)}


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def small() -> AdapterState:
    generator = torch.Generator().manual_seed(0)
    lora = LoraWeights(
        torch.randn(2, 3, generator=generator), torch.randn(4, 2, generator=generator), 1.0
    )
    return {"unet": {"mid_block.attentions.0.proj_in": lora}}


@pytest.mark.parametrize("layout", ["kohya", "diffusers"])
@pytest.mark.parametrize("targets", [tiny_lora.ATTENTION, tiny_lora.BLOCKS, tiny_lora.FULL])
@pytest.mark.parametrize("text", [False, True])
def test_diffusers_draws_the_same_picture_from_the_file(
    tmp_path: Path, layout: Layout, targets: list[str], text: bool
) -> None:
    trained = tiny_lora.pipeline()
    before = tiny_lora.picture(trained)
    tiny_lora.inject(trained.unet, targets, rank=4, alpha=3)
    state = {"unet": from_peft(trained.unet)}
    if text:
        tiny_lora.inject(trained.text_encoder, tiny_lora.CLIP, rank=2, alpha=5)
        state["text_encoder"] = from_peft(trained.text_encoder)
    wanted = tiny_lora.picture(trained)
    assert (wanted - before).abs().max() > 0.01
    path = tmp_path / "a.safetensors"
    file.write(path, state, layout, {})

    fresh = tiny_lora.pipeline()
    check_keys(path, shapes_of(fresh))
    fresh.load_lora_weights(str(tmp_path), weight_name=path.name, adapter_name="a")
    torch.testing.assert_close(tiny_lora.picture(fresh), wanted, atol=1e-5, rtol=0)

    fresh.set_adapters(["a"], adapter_weights=[0.0])
    torch.testing.assert_close(tiny_lora.picture(fresh), before, atol=1e-5, rtol=0)


def test_mixed_ranks_and_alphas_survive(tmp_path: Path) -> None:
    trained = tiny_lora.pipeline()
    tiny_lora.inject(trained.unet, tiny_lora.BLOCKS, rank=4, alpha=3)
    tiny_lora.inject(trained.text_encoder, tiny_lora.CLIP, rank=4, alpha=3)
    state = {"unet": from_peft(trained.unet), "text_encoder": from_peft(trained.text_encoder)}
    for modules in state.values():
        first = min(modules)
        lora = modules[first]
        modules[first] = LoraWeights(lora.down[:2], lora.up[:, :2], alpha=7.0)
    for layout in ("kohya", "diffusers"):
        file.write(tmp_path / layout, state, layout, {})
        read, _ = file.read(tmp_path / layout)
        assert same(read, state)
    from_file, folded = tiny_lora.pipeline(), tiny_lora.pipeline()
    file.write(tmp_path / "a.safetensors", state, "diffusers", {})
    from_file.load_lora_weights(str(tmp_path), weight_name="a.safetensors")
    folded.load_lora_weights(to_diffusers(with_unit_scale(state)))
    torch.testing.assert_close(
        tiny_lora.picture(from_file), tiny_lora.picture(folded), atol=1e-5, rtol=0
    )


def test_file_is_whole_and_the_same_each_time(tmp_path: Path) -> None:
    metadata = {f"key {i}": "väl\n" * i for i in range(20)}
    contents = set()
    for i in range(3):
        file.write(tmp_path / f"{i}", small(), "kohya", metadata)
        contents.add((tmp_path / f"{i}").read_bytes())
    assert len(contents) == 1
    assert names_in(tmp_path) == ["0", "1", "2"]
    with safe_open(tmp_path / "0", "pt") as opened:
        assert metadata.items() <= opened.metadata().items()
        assert opened.get_tensor("lora_unet_mid_block_attentions_0_proj_in.alpha") == 1.0


def test_model_hash_is_kohyas(tmp_path: Path) -> None:
    """sd-scripts' addnet_hash_safetensors: SHA-256 of all that follows the header."""
    path = tmp_path / "a.safetensors"
    file.write(path, small(), "kohya", {})
    raw = path.read_bytes()
    (header,) = struct.unpack("<Q", raw[:8])
    digest = hashlib.sha256(raw[8 + header :]).hexdigest()
    _, metadata = file.read(path)
    assert metadata["sshs_model_hash"] == digest
    assert metadata["modelspec.hash_sha256"] == "0x" + digest


def test_reduced_precision(tmp_path: Path) -> None:
    file.write(tmp_path / "a", small(), "kohya", {}, dtype=torch.float16)
    assert file.inspect(tmp_path / "a").dtype == "float16"


def test_inspect(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    file.write(path, small(), "diffusers", {"loraloom.trigger": "ohwx", "ss_sd_model_name": "b"})
    found = file.inspect(path)
    assert (found.layout, found.components, found.modules) == ("diffusers", ("unet",), {"unet": 1})
    assert (found.rank, found.alpha, found.dtype) == (2, 1.0, "float32")
    assert (found.trigger, found.base) == ("ohwx", "b")
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


def test_peft_folder_takes_alpha_from_its_config(tmp_path: Path) -> None:
    tensors = {
        "base_model.model.mid_block.attentions.0.proj_in.lora_A.weight": torch.ones(2, 3),
        "base_model.model.mid_block.attentions.0.proj_in.lora_B.weight": torch.ones(4, 2),
    }
    save_file(tensors, tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps({"lora_alpha": 16, "r": 2}))
    found = file.inspect(tmp_path / "adapter_model.safetensors")
    assert (found.layout, found.alpha) == ("peft", 16.0)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.ENOSPC, DiskFull),
        (errno.EROFS, OutputUnwritable),
        (errno.EFBIG, OutputUnwritable),
    ],
)
def test_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, error: type[Exception]
) -> None:
    path = tmp_path / "a.safetensors"
    path.write_bytes(b"old")

    def fail(_: int) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(error, match=r"a\.safetensors"):
        file.write(path, small(), "kohya", {})
    assert path.read_bytes() == b"old"
    assert names_in(tmp_path) == [path.name]


def test_check_names_what_does_not_fit(tmp_path: Path) -> None:
    path = tmp_path / "a.safetensors"
    state = small()
    state["unet"]["down_blocks.7.to_q"] = next(iter(small()["unet"].values()))
    file.write(path, state, "kohya", {})
    with pytest.raises(AdapterKeysUnknown, match=r"3 of its 6.*\n.*lora_unet_down_blocks_7_to_q"):
        check_keys(path, {"unet": {"mid_block.attentions.0.proj_in": (4, 3)}, "text_encoder": {}})
    with pytest.raises(AdapterKeysUnknown, match="0 of its 6"):
        check_keys(path, {})


@pytest.mark.parametrize("shape", [(4, 5), (5, 3), (4, 3, 1, 1)])
def test_check_names_widths_that_differ(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "a.safetensors"
    file.write(path, small(), "diffusers", {})
    check_keys(path, {"unet": {"mid_block.attentions.0.proj_in": (4, 3)}})
    said = re.escape(f"unet.mid_block.attentions.0.proj_in: (4, 3) in the file, {shape} in the")
    with pytest.raises(AdapterKeysUnknown, match=said):
        check_keys(path, {"unet": {"mid_block.attentions.0.proj_in": shape}})


def header_only(header: bytes, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(header)) + header + data


def entry(name: str, begin: int, end: int) -> str:
    return f'"{name}":{{"dtype":"F32","shape":[1],"data_offsets":[{begin},{end}]}}'


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, ("touch exploded",)


HOSTILE = {
    "empty": (b"", "not a safetensors file.*it is empty.*copy it again"),
    "text": (b"<!DOCTYPE html>", r"it has 15 bytes and begins with b'<!DOCTYP'.*Give a .safeten"),
    "short": (b"\x10\x00\x00", "not a safetensors file"),
    "huge header": (struct.pack("<Q", 2**63) + b"{}", "not a safetensors file"),
    "claims 200 MB": (struct.pack("<Q", 200_000_000) + b"{}", "not a safetensors file"),
    "bad json": (header_only(b"{nope"), "broken safetensors header"),
    "deep json": (header_only(b"[" * 100_000), "broken safetensors header"),
    "not utf-8": (header_only(b"\xff\xfe{}"), "broken safetensors header"),
    "a list": (header_only(b"[1]"), "not a table"),
    "bad metadata": (header_only(b'{"__metadata__":{"a":1}}'), "metadata"),
    "no tensors": (header_only(b"{}"), "none at all"),
    "duplicate key": (
        header_only(f"{{{entry('unet.a.alpha', 0, 4)},{entry('unet.a.alpha', 0, 4)}}}".encode()),
        "twice",
    ),
    "offset beyond": (header_only(f"{{{entry('unet.a.alpha', 0, 4)}}}".encode()), "broken"),
    "trailing": (
        header_only(f"{{{entry('unet.a.alpha', 0, 4)}}}".encode(), b"\0" * 9),
        "broken",
    ),
    "path as key": (
        header_only(f"{{{entry('../../etc/passwd', 0, 4)}}}".encode(), b"\0" * 4),
        "no LoRA adapter",
    ),
    "pickle": (pickle.dumps(Bomb(), protocol=4), "pickle"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_file_is_refused_in_a_sentence(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    content, reason = HOSTILE[case]
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(content)
    with pytest.raises(AdapterUnreadable, match=reason) as caught:
        file.read(path)
    assert "hostile.safetensors" in str(caught.value)
    assert names_in(tmp_path) == [path.name]


@pytest.mark.parametrize("size", [0x0280, 0x0380, 0x0480, 0x0580, 0x4B50])
def test_a_header_whose_size_begins_as_a_pickle_does(tmp_path: Path, size: int) -> None:
    kept = save({"lora_unet_a.alpha": torch.ones(1)})
    length = int.from_bytes(kept[:8], "little")
    header = kept[8 : 8 + length].ljust(size)
    path = tmp_path / "a.safetensors"
    path.write_bytes(struct.pack("<Q", size) + header + kept[8 + length :])
    with pytest.raises(AdapterUnreadable) as caught:
        file.read(path)
    assert "pickle" not in str(caught.value)


def test_torch_pickle_nan_and_missing(tmp_path: Path) -> None:
    torch.save({"lora_unet_a.alpha": torch.ones(1)}, tmp_path / "a.pt")
    with pytest.raises(AdapterUnreadable, match="pickle"):
        file.read(tmp_path / "a.pt")
    broken = small()
    broken["unet"]["mid_block.attentions.0.proj_in"].up[0, 0] = float("nan")
    file.write(tmp_path / "nan", broken, "kohya", {})
    with pytest.raises(AdapterUnreadable, match="NaN"):
        file.read(tmp_path / "nan")
    tensors = {name: t.to(torch.int8) for name, t in to_diffusers(small()).items()}
    save_file(tensors, tmp_path / "whole")
    with pytest.raises(AdapterUnreadable, match=r"holds whole numbers \(torch.int8\)"):
        file.read(tmp_path / "whole")
    with pytest.raises(AdapterUnreadable, match="is not a file"):
        file.read(tmp_path / "missing")
