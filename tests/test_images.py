"""Pictures of every kind, sound and broken."""

import io
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from loraloom.dataset.images import decode_rgb, open_rgb
from loraloom.errors import ImageUnreadable

RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def png(width: int, height: int, *chunks: tuple[bytes, bytes], grey_bits: int = 8) -> bytes:
    """A PNG written by hand, so that headers can lie."""
    header = struct.pack(">IIBBBBB", width, height, grey_bits, 0, 0, 0, 0)
    parts = [(b"IHDR", header), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in parts
    )


def noise(width: int = 64, height: int = 64) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "HEIF"])
def test_accepted_kinds(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.png"  # the name does not matter, the content does
    path.write_bytes(encoded(Image.new("RGB", (40, 30), RED), kind))
    image = open_rgb(path)
    assert (image.mode, image.size) == ("RGB", (40, 30))
    assert np.allclose(image.getpixel((5, 5)), RED, atol=3)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIF", "GIF", "BMP"])
@pytest.mark.parametrize("left", [0.3, 0.5, 0.9])
def test_truncated(kind: str, left: float) -> None:
    data = encoded(noise(), kind)
    with pytest.raises(ImageUnreadable, match=r"^x\.png: .*broken") as caught:
        decode_rgb(data[: int(len(data) * left)], "x.png")
    assert caught.value.code == "image_broken"
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "AVIF", "HEIF", "GIF"])
def test_only_the_beginning_of_a_kind(kind: str) -> None:
    with pytest.raises(ImageUnreadable, match=f"begins as {kind}|broken"):
        decode_rgb(encoded(noise(), kind)[:16], "x.png")


def test_flipped_bits_give_a_picture_or_a_reason() -> None:
    """Many such JPEGs decode: their bytes are compared by hash, not by decoding."""
    sound, rng = encoded(noise(), "JPEG"), np.random.default_rng(0)
    decoded = 0
    for _ in range(60):
        data = bytearray(sound)
        for place in rng.integers(0, len(data), 3):
            data[place] ^= 1 << int(rng.integers(8))
        try:
            decoded += decode_rgb(bytes(data), "x.jpg").mode == "RGB"
        except ImageUnreadable as error:
            assert error.code in ("image_broken", "image_too_large", "not_an_image")
            assert "\n" not in str(error)
    assert decoded


def test_what_stands_behind_a_picture_is_passed() -> None:
    tail = b"<script>alert(1)</script>" + b"PK\5\6" + bytes(18)
    image = decode_rgb(encoded(noise(), "JPEG") + tail, "x.jpg")
    assert np.array_equal(image, decode_rgb(encoded(noise(), "JPEG"), "x.jpg"))
    assert tail[:25] not in encoded(image)


def test_ink_with_a_profile_of_another_kind() -> None:
    """CMYK is converted without the profile, which is for red, green and blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for given in (profile, b"garbage"):
        data = encoded(Image.new("CMYK", (20, 20), (0, 255, 255, 0)), "TIFF", icc_profile=given)
        assert np.allclose(decode_rgb(data, "x.tif").getpixel((5, 5)), RED, atol=3)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just text", "not a picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "not a picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "not a picture"),
        (b"%PDF-1.7\n", "not a picture"),
        (png(0, 10, (b"IDAT", zlib.compress(b""))), "x.png"),
        (png(12000, 12000, (b"IDAT", zlib.compress(b"\0" * 99))), "too many pixels"),
        (png(60000, 60000, (b"IDAT", zlib.compress(b"\0" * 99))), "too many pixels"),
        (png(2**31 - 1, 1000, (b"IDAT", zlib.compress(b"\0" * 99))), "too many pixels"),
        (png(8, 8, (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 2**27)),
             (b"IDAT", zlib.compress(b"\0" * 72))), "broken"),
        (png(8, 8, (b"iCCP", b"a\0\0" + zlib.compress(b"\0" * 2**27)),
             (b"IDAT", zlib.compress(b"\0" * 72))), "broken"),
        (encoded(Image.new("F", (20, 20), 0.5), "TIFF"), "mode F"),
        (encoded(Image.new("I", (20, 20), 2**20), "TIFF"), "16 bits"),
    ],
)  # fmt: skip
def test_refused_with_reason(data: bytes, reason: str) -> None:
    with pytest.raises(ImageUnreadable, match=reason) as caught:
        decode_rgb(data, "x.png")
    assert str(caught.value).startswith("x.png: ")
    assert "\n" not in str(caught.value)


def test_bad_checksum() -> None:
    data = bytearray(encoded(noise()))
    data[data.index(b"IDAT") + 40] ^= 0xFF
    with pytest.raises(ImageUnreadable, match="broken"):
        decode_rgb(bytes(data), "x.png")


def test_animation_is_refused() -> None:
    frames = [Image.new("RGB", (20, 20), colour) for colour in (RED, GREEN)]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageUnreadable, match="several pictures"):
        decode_rgb(data, "x.gif")


def test_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ImageUnreadable, match=r"gone\.png: cannot be read"):
        open_rgb(tmp_path / "gone.png")


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    values = [0, 255, 256, 32768, 65535]
    row = b"\0" + b"".join(struct.pack(">H", value) for value in values)
    data = png(len(values), 1, (b"IDAT", zlib.compress(row)), grey_bits=16)
    image = decode_rgb(data, "x.png")
    assert [image.getpixel((x, 0))[0] for x in range(5)] == [0, 0, 1, 128, 255]


def test_transparency_shows_white_not_the_hidden_colour() -> None:
    rgba = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    rgba.paste((0, 255, 0, 255), (0, 0, 10, 20))
    for image in (rgba, rgba.convert("LA"), rgba.quantize(4)):
        assert decode_rgb(encoded(image), "x.png").getpixel((15, 5)) == WHITE
    half = Image.new("RGBA", (20, 20), (255, 0, 0, 128))
    assert np.allclose(decode_rgb(encoded(half), "x.png").getpixel((5, 5)), (255, 127, 127), atol=1)


def test_transparent_colour_key() -> None:
    data = encoded(Image.new("RGB", (20, 20), RED), transparency=RED)
    assert decode_rgb(data, "x.png").getpixel((5, 5)) == WHITE


@pytest.mark.parametrize("mode", ["1", "L", "P", "CMYK", "YCbCr"])
def test_modes(mode: str) -> None:
    image = Image.new("RGB", (20, 20), WHITE).convert(mode)
    data = encoded(image, "TIFF" if mode in ("CMYK", "YCbCr") else "PNG")
    assert np.allclose(decode_rgb(data, "x").getpixel((5, 5)), WHITE, atol=2)


@pytest.mark.parametrize(("orientation", "size"), [(1, (40, 20)), (6, (20, 40)), (99, (40, 20))])
def test_orientation(orientation: int, size: tuple[int, int]) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    image = Image.new("RGB", (40, 20), GREEN)
    image.paste(RED, (0, 0, 20, 20))  # left half red: turned by 6 it is the top half
    upright = decode_rgb(encoded(image, exif=exif), "x.png")
    assert upright.size == size
    assert upright.getpixel((10, 5)) == RED


def test_garbage_exif_is_ignored() -> None:
    data = encoded(Image.new("RGB", (40, 20), RED), "JPEG", exif=b"Exif\0\0garbage")
    assert decode_rgb(data, "x.jpg").size == (40, 20)


def test_broken_profile_is_told_and_ignored(caplog: pytest.LogCaptureFixture) -> None:
    data = encoded(Image.new("RGB", (20, 20), RED), icc_profile=b"no profile at all")
    assert decode_rgb(data, "x.png").getpixel((5, 5)) == RED
    assert "x.png: its colour profile is broken" in caplog.text


def test_srgb_profile_changes_nothing() -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    image = noise()
    result = decode_rgb(encoded(image, icc_profile=profile), "x.png")
    assert np.array_equal(np.asarray(result), np.asarray(image))


def test_other_profile_is_applied() -> None:
    """sRGB with the tags of its red and blue primaries swapped: red means blue."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for old, new in ((b"rXYZ", b"????"), (b"bXYZ", b"rXYZ"), (b"????", b"bXYZ")):
        profile = profile.replace(old, new)
    profile = profile.replace("sRGB".encode("utf-16-be"), "mine".encode("utf-16-be"))
    data = encoded(Image.new("RGB", (20, 20), RED), icc_profile=profile)
    assert np.allclose(decode_rgb(data, "x.png").getpixel((5, 5)), (0, 0, 255), atol=3)
