"""From a bare ZIP to an adapter in three commands: what captions made by the starter tagger cost.

    python -m bench.auto_captions --subject Mira

The ZIP holds the 30 pictures of a held-out character that the demonstration trains on, without
captions. The captions that are made are compared with the true ones, and the adapter with one that
is trained on the true ones with the same defaults. `--set schedule.steps=40` makes it short.
"""

import argparse
import json
import os
import shlex
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.exam import examine
from loraloom.starter.demo import character
from loraloom.starter.example import example_scenes, write_example
from loraloom.starter.world.scene import Identity, caption


@dataclass(frozen=True)
class Agreement:
    """How far captions say what the true ones say."""

    precision: float
    """Share of the phrases said that are true."""
    recall: float
    """Share of the true phrases that are said."""
    exact: float
    """Share of the captions that are word for word the same."""


def agreement(found: Sequence[str], true: Sequence[str]) -> Agreement:
    """Over captions in the same order, phrase by phrase, the trigger apart."""
    pairs = [
        (set(f.split(", ")[1:]), set(t.split(", ")[1:])) for f, t in zip(found, true, strict=True)
    ]
    both = sum(len(f & t) for f, t in pairs)
    return Agreement(
        both / max(sum(len(f) for f, _ in pairs), 1),
        both / sum(len(t) for _, t in pairs),
        sum(f == t for f, t in zip(found, true, strict=True)) / len(true),
    )


def bare_zip(identity: Identity, folder: Path) -> Path:
    """The demonstration's pictures of `identity`, without captions."""
    write_example(folder / "true", identity)
    path = folder / "set.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for picture in sorted((folder / "true").glob("*.png")):
            archive.write(picture, picture.name)
    return path


def loraloom(home: Path, *words: str) -> str:
    """Run one command on datasets of its own; what it prints."""
    print(f"$ {shlex.join(['loraloom', *words])}", flush=True)
    done = subprocess.run(
        [sys.executable, "-c", "from loraloom.cli import main; main()", *words],
        env={**os.environ, "LORALOOM_HOME": str(home)}, stdout=subprocess.PIPE, text=True,
        check=True,
    )  # fmt: skip
    return done.stdout


def three_commands(identity: Identity, folder: Path, extra: Sequence[str]) -> dict[str, str]:
    """Import, describe, train into folder/auto; the captions by picture."""
    archive, home = bare_zip(identity, folder), folder / "home"
    named = ("--kind", "character", "--trigger", identity.trigger)
    loraloom(home, "dataset", "import", str(archive), "--name", "subject", "--json")
    told = loraloom(home, "caption", "auto", "subject", *named, "--tagger", "starter", "--json")
    out = ("--out", str(folder / "auto"))
    loraloom(home, "train", "subject", "--base", "starter", *named, *out, "--json", *extra)
    captions: dict[str, str] = json.loads(told)["captions"]
    return captions


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--subject", default="Mira", help="Mira, Bram or Noor")
    parser.add_argument("--pictures", type=int, default=48, help="to be judged by")
    parser.add_argument("--set", action="append", default=[], metavar="A.B=V", dest="settings")
    given = parser.parse_args()
    identity = character(given.subject)
    extra = [word for setting in given.settings for word in ("--set", setting)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        captions = three_commands(identity, folder, extra)
        true = [caption(scene, identity.trigger) for scene in example_scenes(identity)]
        agreed = agreement([captions[key] for key in sorted(captions)], true)
        print(
            f"captions: {agreed.precision:.1%} of what they say is true, {agreed.recall:.1%} of "
            f"what is true is said, {agreed.exact:.0%} are word for word the true ones"
        )
        named = ("--kind", "character", "--trigger", identity.trigger)
        out = ("--out", str(folder / "told"))
        loraloom(folder / "home", "train", str(folder / "true"), "--base", "starter", *named, *out,
                 "--json", *extra)  # fmt: skip
        for title, run in (("made automatically", "auto"), ("the true ones", "told")):
            marks = examine(identity, folder / run / "adapter.safetensors", given.pictures)
            print(f"captions {title:<18} likeness {marks.likeness:.1%}, bleed {marks.bleed:.1%}")


if __name__ == "__main__":
    main()
