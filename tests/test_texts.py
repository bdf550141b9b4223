"""The texts of the pages in Chinese: none lacks, and what is filled in or marked up is the same."""

import importlib.util
import re
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog
from fastapi.testclient import TestClient

ROOT = Path(__file__).parent.parent
CHINESE = {"Accept-Language": "zh-TW,zh;q=0.9,en;q=0.5"}
SAME = {
    "placeholders": re.compile(r"%\(\w+\)[a-z]|\{\w*\}"),
    "tags": re.compile(r"</?[a-z][^>]*>|&#?\w+;"),
    "code": re.compile(r"`[^`]*`"),
}
"""What a translation has as often as its text, in any order."""


@cache
def script() -> ModuleType:
    """assets/texts.py, which is no part of the package."""
    spec = importlib.util.spec_from_file_location("texts", ROOT / "assets" / "texts.py")
    assert spec
    assert spec.loader
    sys.path.append(str(ROOT / "assets"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def chinese() -> Catalog:
    """Today's texts with their translations."""
    catalog: Catalog = script().update("zh_Hant")
    return catalog


def pairs(catalog: Catalog) -> Iterator[tuple[str, str]]:
    """Each text with its translation; of a text with a count, the one for many."""
    for message in catalog:
        if message.id:
            said = message.string
            many = message.id if isinstance(message.id, str) else message.id[-1]
            yield many, said if isinstance(said, str) else (said or ("",))[-1]


def test_every_text_is_translated(chinese: Catalog) -> None:
    assert script().missing(chinese) == []


@pytest.mark.parametrize("what", SAME)
def test_what_is_filled_in_or_marked_up_is_the_same(chinese: Catalog, what: str) -> None:
    found = {text: said for text, said in pairs(chinese)
             if sorted(SAME[what].findall(text)) != sorted(SAME[what].findall(said))}  # fmt: skip
    assert found == {}


def test_placeholders_can_be_filled_in(chinese: Catalog) -> None:
    """Templates fill in every text of theirs, so that a bare % would break its page."""
    for message in chinese:
        if any(file.startswith(("web/", "config")) for file, _ in message.locations):
            for text in (message.string,) if isinstance(message.string, str) else message.string:
                names = re.findall(r"%\((\w+)\)", text)
                assert (text % dict.fromkeys(names, 3)) != ""


def test_texts_with_values_are_found() -> None:
    assert "%(done)s of %(all)s steps" in script().texts()


def test_the_header_has_no_gaps(chinese: Catalog) -> None:
    header = chinese.header_comment + str(chinese.mime_headers)
    assert not re.search(r"ORGANIZATION|FULL NAME|FIRST AUTHOR|VERSION|@|YEAR", header)


def test_chinese_is_of_taiwan(chinese: Catalog) -> None:
    """No words, marks or simplified characters of elsewhere; Big5 has only traditional ones."""
    elsewhere = re.compile(r"適配器|視頻|默認|圖像|文件夾|內存|噪聲|數據|[\u4e00-\u9fff][,:;?!]")
    for _, said in pairs(chinese):
        assert not elsewhere.search(said)
        "".join(re.findall(r"[\u4e00-\u9fff]", said)).encode("big5")


def test_a_browser_in_taiwan_sees_chinese(client: TestClient) -> None:
    welcome = client.get("/", headers=CHINESE).text
    assert '<html lang="zh-Hant"' in welcome
    assert "歡迎使用 Loraloom" in welcome
    assert "可用空間" in welcome
    assert "Welcome to Loraloom" not in welcome
    guide = client.get("/guide", headers=CHINESE).text
    for word in ("觸發詞", "標註", "資料集", "配接器", "類別圖片"):
        assert word in guide
    assert "歡迎" not in client.get("/").text


def test_what_a_click_did_is_told_in_chinese(client: TestClient) -> None:
    client.post("/welcome/example", headers=CHINESE)
    assert "範例已加入資料集" in client.get("/", headers=CHINESE).text


def test_settings_and_remarks_of_a_new_run_are_chinese(client: TestClient) -> None:
    form = client.get("/train/new?trigger=woman&all=1", headers=CHINESE).text
    assert "學習率" in form
    assert "保留的檢查點數量" in form
    assert "請選擇要訓練的資料集。" in form
    assert "checkpoints kept" not in form
    assert "Choose the dataset" not in form
