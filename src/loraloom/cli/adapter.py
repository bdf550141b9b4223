"""`loraloom adapter`: inspect, check and convert files; merge, resize and extract adapters."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from loraloom.cli.output import messages, print_json
from loraloom.errors import AdapterEditInvalid, OutputExists

if TYPE_CHECKING:
    import torch

    from loraloom.adapters.base_weights import BaseWeights
    from loraloom.adapters.mixing import Approximation
    from loraloom.adapters.state import AdapterState

app = typer.Typer(
    help="Look into adapter files, convert them, and make others of them.", no_args_is_help=True
)
Layout = Literal["kohya", "diffusers", "comfyui", "peft"]
Dtype = Literal["float32", "float16", "bfloat16"]
File = Annotated[Path, typer.Argument(metavar="FILE", help="a .safetensors adapter file")]
Out = Annotated[Path, typer.Option(help="file to write; must not exist")]
Rank = Annotated[int, typer.Option(min=1, max=4096, help="rank of the new LoRA")]
OutDtype = Annotated[
    Dtype | None, typer.Option("--dtype", help="number format; none: that of the file")
]
Base = Annotated[
    str | None, typer.Option(help="name or folder of the base model that the adapter is for")
]


@app.command()
def inspect(
    file: File, json: Annotated[bool, typer.Option("--json", help="one line of JSON")] = False
) -> None:
    """Say what an adapter file holds.

    \b
    loraloom adapter inspect out/mine/adapter.safetensors
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    from loraloom.adapters import file as adapter_file

    found = asdict(adapter_file.inspect(file))
    if json:
        print_json(found)
        return
    metadata = found.pop("metadata")
    table = Table(box=None, show_header=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in found.items():
        table.add_row(name.replace("_", " "), Text(_plain(value)))
    for name, value in sorted(metadata.items()):
        table.add_row(Text(name, style="dim"), Text(_plain(value)))
    Console().print(table)


@app.command()
def check(
    file: File,
    base: Annotated[str, typer.Option(help="name or folder of the base model")],
) -> None:
    """Say whether every part of an adapter finds its place in a base model.

    \b
    loraloom adapter check mine.safetensors --base ponyDiffusionV6XL
    """
    from loraloom.adapters.base_weights import open_base
    from loraloom.adapters.made import open_source
    from loraloom.adapters.state import each, kind_of

    opened = open_base(base)
    state = open_source(file, opened).state
    count = len(list(each(state)))
    print(f"{file} fits {base}: all of its {count} modules are there. Type {kind_of(state)}.")


@app.command()
def convert(
    file: File,
    to: Annotated[Layout, typer.Option(help="docs/adapters.md tells who reads which")],
    out: Annotated[Path, typer.Option(help="file to write, or folder for peft; must not exist")],
    base: Base = None,
    dtype: OutDtype = None,
) -> None:
    """Write an adapter in another program's key layout.

    \b
    loraloom adapter convert mine.safetensors --to diffusers --out mine-diffusers.safetensors
    loraloom adapter convert mine.safetensors --to peft --base ./sd15 --out mine-peft
    """
    from loraloom.adapters import file as adapter_file
    from loraloom.adapters import peft_folder
    from loraloom.adapters.made import open_source

    _refuse_existing(out)
    source = open_source(file, _opened(base))
    numbers = _dtype(dtype, file)
    if to == "peft":
        peft_folder.write(out, source.state, _module_paths(source.state, base), numbers)
    else:
        adapter_file.write(out, source.state, to, source.metadata, numbers)
    messages.print(f"Wrote {out}")


@app.command()
def merge(
    files: Annotated[
        list[str], typer.Argument(metavar="FILE[:WEIGHT]...", help="weight 1 if absent")
    ],
    out: Out,
    rank: Annotated[
        int | None,
        typer.Option(min=1, max=4096, help="rank of the new LoRA; none: exact, all ranks together"),
    ] = None,
    base: Base = None,
    dtype: OutDtype = None,
) -> None:
    """Make one LoRA that does what several adapters do together.

    LoRAs are joined exactly unless --rank is given; the other types need --rank and --base.

    \b
    loraloom adapter merge face.safetensors:0.8 style.safetensors:0.5 --out both.safetensors
    """
    from loraloom.adapters import made
    from loraloom.adapters.mixing import weighted_sum
    from loraloom.cli.generate import parse_adapter

    _refuse_existing(out)
    given = [parse_adapter(text) for text in files]
    opened = _opened(base)
    sources = [made.open_source(path, opened) for path, _ in given]
    made.of_one_family(sources)
    pairs = [(source.state, weight) for source, (_, weight) in zip(sources, given, strict=True)]
    result = weighted_sum(pairs, rank, opened.weight if opened else None)
    how = {
        "by": "merge",
        "of": [{**s.told(), "weight": w} for s, (_, w) in zip(sources, given, strict=True)],
    }
    metadata = made.joined_metadata(sources)
    written = made.write_lora(out, result, metadata, how, _dtype(dtype, given[0][0]))
    messages.print(f"Wrote {out}, a LoRA of rank {written}{_kept(result)}")


@app.command()
def resize(
    file: File,
    rank: Rank,
    out: Out,
    base: Base = None,
    dtype: OutDtype = None,
) -> None:
    """Make the nearest LoRA of another rank out of an adapter, and say how much it keeps.

    Kept is the share of the squares of the singular values. Types other than lora need --base.

    \b
    loraloom adapter resize mine.safetensors --rank 8 --out mine-r8.safetensors
    loraloom adapter resize oft.safetensors --rank 64 --base starter --out lora.safetensors
    """
    from loraloom.adapters import made
    from loraloom.adapters.mixing import resized

    _refuse_existing(out)
    opened = _opened(base)
    source = made.open_source(file, opened)
    result = resized(source.state, rank, opened.weight if opened else None)
    how = {"by": "resize", "of": [source.told()], "rank": rank}
    written = made.write_lora(out, result, source.metadata, how, _dtype(dtype, file))
    messages.print(f"Wrote {out}, a LoRA of rank {written}{_kept(result)}")


@app.command()
def extract(
    base: Annotated[str, typer.Option(help="name or folder of the base model")],
    tuned: Annotated[str, typer.Option(help="the base model after fine-tuning")],
    rank: Rank,
    out: Out,
    targets: Annotated[
        Literal["attention", "blocks", "full"], typer.Option(help="the modules that are looked at")
    ] = "full",
    dtype: Annotated[Dtype, typer.Option(help="number format")] = "float32",
) -> None:
    """Make the LoRA that comes nearest to what turned one base model into another.

    \b
    loraloom adapter extract --base sdxl --tuned ponyDiffusionV6XL --rank 64 --out pony.safetensors
    """
    from loraloom.adapters import made
    from loraloom.adapters.base_weights import open_base
    from loraloom.adapters.mixing import difference

    _refuse_existing(out)
    first, second = open_base(base), open_base(tuned)
    with messages.status("Comparing the weights"):
        result = difference(first, second, rank, targets)
    info = first.info
    metadata = {
        "ss_base_model_version": info.base_version,
        "ss_sd_model_name": first.base.resolve().name,
        "modelspec.architecture": info.architecture,
    }
    how = {"by": "extract", "base": first.base.resolve().name, "tuned": second.base.resolve().name}
    written = made.write_lora(out, result, metadata, how, _dtype(dtype, out))
    messages.print(f"Wrote {out}, a LoRA of rank {written}{_kept(result)}")


def _opened(base: str | None) -> BaseWeights | None:
    from loraloom.adapters.base_weights import open_base

    return None if base is None else open_base(base)


def _refuse_existing(out: Path) -> None:
    if out.exists():
        raise OutputExists(f"{out} exists already; name another file or remove it")


def _dtype(name: Dtype | None, file: Path) -> torch.dtype:
    """The one asked for, else that of the file, else float32."""
    import torch

    from loraloom.adapters import file as adapter_file

    named = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}
    return named.get(name or adapter_file.inspect(file).dtype, torch.float32)


def _module_paths(state: AdapterState, base: str | None) -> dict[str, list[str]]:
    """The modules of each part as diffusers and transformers name them once it is loaded."""
    from loraloom import families
    from loraloom.settings import resolve_base

    paths = {component: list(modules) for component, modules in state.items()}
    encoders = {component for component in state if component.startswith("text_encoder")}
    if not encoders:
        return paths
    if base is None:
        raise AdapterEditInvalid(
            "How peft names the modules of a text encoder depends on the base: name it with --base."
        )
    family = families.detect(base)
    parts = [name for name, folder in family.info.folders.items() if folder in encoders]
    loaded = family.load(resolve_base(base), only=parts)
    for part in parts:
        paths[family.info.folders[part]] = list(dict(getattr(loaded, part).named_modules()))
    return paths


def _kept(result: Approximation) -> str:
    if not result.kept:
        return "; nothing was left out."
    name, share = result.worst
    return f"; {result.share:.1%} kept, least of {name}, {share:.1%}."


def _plain(value: object) -> str:
    """A value in words, without control characters, cut where it would fill the screen."""
    match value:
        case None:
            text = "–"
        case dict():
            text = ", ".join(f"{name} {number}" for name, number in value.items())
        case tuple() | list():
            text = ", ".join(map(str, value))
        case _:
            text = str(value)
    text = "".join(char if char.isprintable() else " " for char in text)
    return text if len(text) <= 300 else f"{text[:300]} … ({len(text):,} characters)"
