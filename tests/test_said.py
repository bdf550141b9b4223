"""What the program says in English is recognised and told in Chinese."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from string import Formatter

import pytest
from fastapi.testclient import TestClient
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image
from tests.test_texts import CHINESE, script

from loraloom.captions import findings
from loraloom.dataset.intake import import_into
from loraloom.errors import LoraloomError
from loraloom.studio.studio import Studio
from loraloom.train import diagnosis
from loraloom.web import texts
from loraloom.web.said import _Form, _forms, said


@pytest.fixture
def in_chinese() -> Iterator[None]:
    token = texts._language.set("zh_Hant")
    yield
    texts._language.reset(token)


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(text) if name}


def test_every_form_is_recognised_and_filled_in(in_chinese: None) -> None:
    forms = {m.id: m.string for m in texts.messages("zh_Hant")
             if isinstance(m.id, str) and " " in m.id and "{" in m.id}  # fmt: skip
    assert len(forms) > 300
    for form, translation in forms.items():
        values = {name: f"v{n}.x" for n, name in enumerate(sorted(places(form)))}
        assert said(form.format(**values)) == translation.format(**values), form


def test_findings_and_diagnoses(in_chinese: None) -> None:
    lacks = findings.trigger_missing("a.png", "ohwx {woman}")
    assert said(lacks.message) == "標註缺少觸發詞「ohwx {woman}」。"
    assert said(lacks.fix) == "請以「ohwx {woman}」開頭。"
    ((_, told),) = diagnosis.rising([(1, 0.5), (2, 0.6), (3, 0.61)])
    assert said(told).startswith(
        "訓練圖片的損失上升了：第 1 步為 0.5000，現在為 0.6100。學習率太高"
    )


def test_sentences_in_a_row_and_within_each_other(in_chinese: None) -> None:
    assert said("The picture has no caption. Use a larger original, or upscale it.") == (
        "這張圖片沒有標註。請使用更大的原圖，或先放大。"
    )
    assert said("This one is new. The picture has no caption.") == (
        "This one is new. 這張圖片沒有標註。"
    )
    assert said("m.safetensors cannot be used: tensor a holds NaN or infinite values: its training "
                "broke down. Use an earlier file of the same training.") == (
        "m.safetensors 無法使用：張量 a 含有 NaN 或無限大：當時的訓練已經崩潰。"
        "請使用同一次訓練中較早的檔案。"
    )  # fmt: skip


def holds_no_sentence(text: str) -> bool:
    plain, forms = _forms("zh_Hant")
    return not (
        any(sentence in text for sentence in plain)
        or any(all(words in text for words in form.words) for form in forms)
    )


@given(st.text(max_size=300).filter(holds_no_sentence))
@example("Two. Three: four")
def test_other_texts_stay_as_they_are(text: str) -> None:
    assert said(text) == text
    token = texts._language.set("zh_Hant")
    try:
        assert said(text) == text
    finally:
        texts._language.reset(token)


def test_an_error_of_the_api_is_told_in_the_language_that_is_accepted(client: TestClient) -> None:
    plain = client.get("/api/v1/jobs/77").json()["detail"]
    assert plain.startswith("There is no job 77;")
    told = client.get("/api/v1/jobs/77", headers=CHINESE).json()["detail"]
    assert told == "沒有工作 77；`loraloom jobs list` 會列出現有的工作。"


def test_a_page_of_findings_has_no_english_sentence(
    client: TestClient, studio: Studio, tmp_path: Path
) -> None:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(3):
        Image.new("RGB", (700, 700), (9 * number, 4, 4)).save(folder / f"{number}.png")
    (folder / "0.txt").write_text("a picture")
    stored = studio.datasets.create("set")
    import_into(stored, [folder])
    address = "/datasets/set/checks?base=starter"
    client.post("/datasets/set/checks", data={"base": "starter", "kind": "character"})
    begun = time.monotonic()
    while "太暗" not in (page := client.get(address, headers=CHINESE).text):
        assert time.monotonic() - begun < 120
        time.sleep(0.1)
    found = re.findall(r'<ul class="findings">.*?</ul>', page, re.DOTALL)
    assert found
    visible = re.sub(r"<[^>]+>", " ", " ".join(found))
    assert not re.findall(r"[A-Za-z]{3,} [a-z]+ [a-z]+", visible)


def test_errors_have_sentences_to_be_found() -> None:
    """A class of errors whose texts stand elsewhere would stay English unseen."""
    assert (
        "There is no job {job_id}; `loraloom jobs list` shows those there are." in script().texts()
    )
    assert issubclass(LoraloomError, Exception)


def test_what_somebody_sends_costs_no_time(in_chinese: None) -> None:
    """Counted in looks at forms, not in seconds: so many as there are sentences, a few times."""
    looks = 0
    plain, forms = _forms("zh_Hant")

    class Counted(list[_Form]):
        def __iter__(self) -> Iterator[_Form]:
            nonlocal looks
            looks += 1
            return super().__iter__()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("loraloom.web.said._forms", lambda language: (plain, Counted(forms)))
        hostile = ("a. " * 300, ": the crop " + "," * 160 + " px is the least side.", "x: " * 333)
        for text in hostile:
            assert said(text).replace(" ", "") == text.replace(" ", "")
    assert looks < 6 * sum(text.count(" ") + 2 for text in hostile)
    assert said("a. " * 1000) == "a. " * 1000
