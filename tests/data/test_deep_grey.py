"""Images of more than 8 bits: white is one value a set, never an image's own maximum."""

import struct

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

import moganet
from moganet.config import AugmentConfig, DataConfig, Preprocessing
from moganet.data import open_data
from moganet.data.module import ImageDataModule
from moganet.data.preprocess import decode
from moganet.data.read import read
from moganet.data.survey import thumbnails
from moganet.errors import ConfigError, DataError
from moganet.tasks.recipes import load_recipe

TYPES = {"u2": (np.uint16, 65535), "i4": (np.int32, 65535), "f4": (np.float32, 1.0)}


def grey(height=9, width=11):
    return np.random.RandomState(0).randint(0, 256, (height, width)).astype(np.uint8)


@pytest.mark.parametrize("share", [1, 0.5, 1 / 256])
@pytest.mark.parametrize("kind", TYPES)
def test_white_is_the_end_of_the_types_range_however_dark_a_frame_is(kind, share, tmp_path):
    numpy_type, white = TYPES[kind]
    values = (grey() / 255 * white * share).astype(numpy_type)
    Image.fromarray(values).save(tmp_path / "x.tif")
    expected = np.round(values.astype(float) * 255 / white)
    for given_by in (tmp_path / "x.tif", Image.fromarray(values), values):
        assert np.array_equal(decode(given_by)[0].numpy(), expected)


@settings(deadline=None, max_examples=40)
@given(st.sampled_from(list(TYPES)), st.sampled_from([255, 1023, 4095, 16383, 40000]), st.integers(0, 2**16))
def test_the_setting_names_white_for_every_type_and_door(kind, white, seed):
    numpy_type, _ = TYPES[kind]
    values = np.random.RandomState(seed).randint(0, white + 1, (4, 5)).astype(numpy_type)
    expected = np.round(values.astype(float) * 255 / white)
    for image in (values, Image.fromarray(values), torch.from_numpy(values.astype(np.float32))[None]):
        assert np.array_equal(decode(image, 1, white)[0].numpy(), expected)
    with pytest.raises(DataError, match="white_level"):
        decode(np.full((2, 2), white + white // 50).astype(numpy_type), 1, white)


@pytest.mark.parametrize("values", [[-5.0, 1.0], [0.0, 255.0], [0.0, np.nan], [0.0, np.inf]])
def test_values_beyond_white_are_refused_by_name_and_never_clipped(values, tmp_path):
    Image.fromarray(np.array([values], np.float32)).save(tmp_path / "x.tif")
    with pytest.raises(DataError, match=r"x\.tif"):
        decode(tmp_path / "x.tif")


@pytest.mark.parametrize("by", [2e-16, 1e-12, 1e-6])
def test_floats_may_overshoot_by_a_rounding_error(by):
    values = np.array([[0 - by, 0.5, 1 + by]])
    assert decode(values)[0, 0].tolist() == [0, 128, 255]
    with pytest.raises(DataError, match=r"1\.01"):
        decode(np.array([[0, 1.01]]))


def tiff(values, *, bits, photometric, white_is=1, order="<"):
    """Write a TIFF by hand: Pillow writes neither white-is-zero nor 12 bits."""
    height, width = values.shape
    if bits == 12:
        pairs = values.reshape(-1, 2).astype(int)
        data = b"".join(bytes([a >> 4, (a & 15) << 4 | b >> 8, b & 255]) for a, b in pairs.tolist())
    else:
        data = values.astype({8: "u1", 16: order + "u2", 32: order + "f4"}[bits]).tobytes()
    tags = [(256, 3, width), (257, 3, height), (258, 3, bits), (259, 3, 1), (262, 3, photometric), (273, 4, 8)]
    tags += [(277, 3, 1), (278, 4, height), (279, 4, len(data)), (339, 3, 3 if bits == 32 else white_is)]
    formats = {3: "HHIHxx", 4: "HHII"}
    entries = b"".join(struct.pack(order + formats[kind], tag, kind, 1, value) for tag, kind, value in tags)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "I", 8 + len(data))
    return head + data + struct.pack(order + "H", len(tags)) + entries + bytes(4)


@pytest.mark.parametrize("white_level", [None, 1.0, 65535])
@pytest.mark.parametrize("bits", [8, 16, 32])
def test_white_is_zero_is_obeyed_once_in_every_depth(bits, white_level, tmp_path):
    picture = grey()
    stored = {8: 255 - picture, 16: (255 - picture).astype(np.uint16) * 257, 32: (255 - picture) / 255}[bits]
    (tmp_path / "x.tif").write_bytes(tiff(stored, bits=bits, photometric=0))
    if bits == 16 and white_level == 1.0:
        with pytest.raises(DataError):
            decode(tmp_path / "x.tif", 3, white_level)
    elif bits != 32 or white_level != 65535:
        assert np.array_equal(decode(tmp_path / "x.tif", 3, white_level)[0].numpy(), picture)


def test_a_file_of_12_bits_ends_at_4095(tmp_path):
    picture = grey(8, 12)
    (tmp_path / "x.tif").write_bytes(tiff(picture.astype(np.uint16) * 16, bits=12, photometric=1))
    assert np.array_equal(decode(tmp_path / "x.tif")[0].numpy(), np.round(picture * 16.0 * 255 / 4095))


def make_set(root, kind=np.uint16, factor=16):
    for split in ("train", "val"):
        for name, level in (("dark", 60), ("light", 200)):
            (root / split / name).mkdir(parents=True)
            for number in range(6):
                values = np.clip(grey(40, 40) // 5 + level, 0, 255).astype(kind) * factor
                values[:, number] = 0
                Image.fromarray(values).save(root / split / name / f"{number}.png")
    return root


def test_the_doctor_names_the_white_that_a_set_seems_to_have(tmp_path):
    result = moganet.doctor(str(make_set(tmp_path / "camera")))
    dark = [one for one in result["findings"] if one["kind"] == "dark"]
    assert len(dark) == 2 and "12 16-bit grey images is above 4095" in dark[0]["detail"]
    assert "preprocessing.white_level=4095" in dark[0]["detail"]
    assert "dark" not in moganet.doctor(str(make_set(tmp_path / "full", factor=257)))["counts"]


def test_16_bit_colour_is_read_as_pillow_does_and_its_white_can_not_be_set(tmp_path):
    colour = np.random.RandomState(1).randint(0, 2**12, (6, 7, 3)).astype(np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colour)
    import zlib

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 7, 6, 16, 2, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    picture = read(png)
    assert np.array_equal(picture.pixels, decode(colour)) and picture.depth.highest <= 4095 and picture.notes
    with pytest.raises(DataError, match="16-bit colour"):
        decode(png, 3, 4095)


def test_what_was_taken_for_white_is_said_once_from_workers_too(tmp_path, caplog):
    dataset = open_data(str(make_set(tmp_path)))
    preprocessing = Preprocessing(size=16)
    module = ImageDataModule(
        dataset, DataConfig(source="x", batch_size=4, workers=2), preprocessing, AugmentConfig(), 0
    )
    with moganet.notices.listening() as heard:
        list(module.train_dataloader())
    assert len([line for line in heard if "white is taken as 65535" in line]) == 1
    with moganet.notices.listening() as heard:
        named = dataset.with_white_level(4095)
        list(ImageDataModule(named, module.data, preprocessing, AugmentConfig(), 0).val_dataloader())
    assert not heard


def test_the_white_level_travels_from_the_recipe_to_every_verb(tmp_path):
    root = make_set(tmp_path / "camera")
    overrides = {
        "network.name": "moganet_xtiny",
        "network.embed_dims": [8, 16, 24, 32],
        "network.depths": [1, 1, 1, 1],
        "preprocessing.size": 16,
        "preprocessing.white_level": 4095,
        "data.batch_size": 4,
        "data.workers": 0,
        "trainer.max_epochs": 1,
        "trainer.precision": "f32",
        "logger": "csv",
    }
    moganet.train("finetune", data=str(root), overrides=overrides, out=tmp_path / "run")
    predictor = moganet.load(tmp_path / "run")
    assert predictor.config.preprocessing.white_level == 4095
    file = root / "val" / "light" / "1.png"
    eight_bit = np.round(np.array(Image.open(file)) * 255.0 / 4095).astype(np.uint8)
    expected = predictor.preprocess(eight_bit)
    assert torch.equal(predictor.preprocess(file), expected)
    alike = predictor(eight_bit)[0]
    found = moganet.predict(predictor, [str(file)])["predictions"][0]["classes"]
    assert [one["name"] for one in found] == list(alike.names)
    assert found[0]["probability"] == pytest.approx(alike.probabilities[0], abs=1e-6)
    split = open_data(str(root)).with_white_level(4095).split("val")
    assert np.abs(np.mean(thumbnails(split, [7], 40)[0]) - eight_bit.mean()) < 1
    result = moganet.evaluate(predictor, data=str(root), split="val")
    assert result["num_images"] == 12 and not any("white" in note for note in result["notes"])


@pytest.mark.parametrize("value", [0, -1, "nan", "inf"])
def test_a_white_level_that_can_not_be_is_refused(value):
    with pytest.raises(ConfigError, match="white_level"):
        load_recipe("digits", {"preprocessing.white_level": float(value)})
