"""What every exporter must do: the same answers, any batch, its description inside, and one line for what is wrong."""

import numpy as np
import pytest
import torch
from conftest import MINI, fill
from PIL import Image
from small_model import SIZE, exported, model, need

import moganet
from moganet.config import Architecture, Preprocessing
from moganet.engine.export import export
from moganet.errors import ConfigError, MogaNetError, OutputError, WeightsError
from moganet.inference import ModelDescription
from moganet.inference.export import EXPORTERS
from moganet.inference.export.verify import Reference, check
from moganet.inference.exported import read_metadata
from moganet.models.build import build_network_for
from moganet.models.formats.ours import save_model_file
from moganet.models.make_fixtures import make_fixtures

# What is the same code for every exporter is tried on the quickest: an ONNX file takes four seconds, a program two.
FREE = [to for to in EXPORTERS if to != "executorch"]  # whose files take images of any size, and raw ones
QUICK = [pytest.param(to, marks=[] if to == "openvino" else [pytest.mark.slow]) for to in EXPORTERS]
# Of ONNX any size is what its runtime is made with (tests/inference/test_runtimes.py), of a program what
# tests/contracts/test_network.py exports; bf16 is as f16 in a program, and NNCF's int8 as OpenVINO's.
ANY_SIZE = [pytest.param(to, marks=[] if to == "openvino" else [pytest.mark.slow]) for to in FREE]
OF_RAW = [pytest.param(to, marks=[pytest.mark.slow] if to == "onnx" else []) for to in FREE]  # as in small_model.py
SWEPT = (("program", "bf16"), ("onnx", "int8"))
HALVES = [
    pytest.param(to, precision, marks=[pytest.mark.slow] if (to, precision) in SWEPT else [])
    for to, exporter in EXPORTERS.items()
    for precision in exporter.PRECISIONS
    if precision != "f32"
]
FUNCTIONS = [(gate, aggregation) for gate in ("single", "double") for aggregation in ("reference", "paddle")]


def make_model(path, gate="single", aggregation="reference", channels=3, classes=10):
    architecture = Architecture(
        **{**MINI, "num_classes": classes, "depths": (1, 1, 1, 1)},
        name="moganet_xtiny",
        in_chans=channels,
        gate=gate,
        channel_aggregation=aggregation,
    )
    network = build_network_for(architecture).eval()
    network.load_state_dict(fill(network.state_dict()))
    preprocessing = Preprocessing(
        size=(64, 96), channels=channels, mean=(0.4,) * channels, std=(0.3,) * channels, crop_fraction=0.9
    )
    images = [
        torch.randint(0, 256, (channels, 90, 120), dtype=torch.uint8, generator=torch.Generator().manual_seed(i))
        for i in range(2)
    ]
    names = tuple(f"class {i}" for i in range(classes))
    description = ModelDescription(
        architecture=architecture,
        preprocessing=preprocessing,
        class_names=names,
        fixtures=make_fixtures(network, preprocessing, images),
    )
    save_model_file(path, network.state_dict(), description)
    return path


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """A folder of pictures in three of the model's classes."""
    folder = tmp_path_factory.mktemp("photos")
    generator = np.random.RandomState(0)
    for name in ("class 0", "class 1", "class 2"):
        (folder / name).mkdir()
        for i in range(6):
            coarse = Image.fromarray(generator.randint(0, 256, (6, 8, 3), dtype=np.uint8))
            coarse.resize((110 + i, 130)).save(folder / name / f"{i}.png")
    return folder


@pytest.mark.parametrize("to", EXPORTERS)
def test_an_export_gives_the_networks_answers_for_any_batch(to):
    plain, other = moganet.load(model(), "eager"), moganet.load(exported(to))
    for batch in (1, 2, 5):
        x = torch.randn(batch, 3, *SIZE)
        assert (other.logits(x) - plain.logits(x)).abs().max() < 1e-4
    assert other.class_names == plain.class_names and other.config == plain.config
    assert check(other.outputs, Reference(plain.outputs), other.config, SIZE) < 1e-4
    with pytest.raises(ConfigError, match="--any-size"):
        other.logits(torch.zeros(1, 3, 32, 32))
    with pytest.raises(ConfigError, match="exported from"):
        _ = other.model


@pytest.mark.parametrize(("gate", "aggregation"), FUNCTIONS[1:])
@pytest.mark.parametrize("to", ["openvino"])  # the others are traced from the network that test_fuse tests
def test_every_function_is_exported(to, gate, aggregation, tmp_path):
    need(to)
    path = make_model(tmp_path / "m.safetensors", gate, aggregation)
    assert export(path, to)["deviation"] < 1e-4
    assert (tmp_path / f"m{EXPORTERS[to].SUFFIX}").is_file()


@pytest.mark.parametrize("to", ANY_SIZE)
def test_an_export_of_any_size_takes_any_size(to):
    plain, other = moganet.load(model(), "eager"), moganet.load(exported(to, any_size=True))
    for height, width in ((32, 48), (48, 32), (41, 75), (128, 128)):
        x = torch.randn(2, 3, height, width)
        assert (other.logits(x) - plain.logits(x)).abs().max() < 1e-4


@pytest.mark.parametrize("to", OF_RAW)
def test_raw_takes_images_of_any_size_and_gives_probabilities(to):
    path = exported(to, "raw")
    plain, run = moganet.load(model(), "eager"), EXPORTERS[to].load(path, "f32", ("probabilities",))
    for height, width in ((25, 35), (32, 48), (150, 100)):
        image = np.asarray(
            Image.fromarray(np.random.RandomState(0).randint(0, 256, (9, 9, 3), dtype=np.uint8)).resize((width, height))
        )
        given = torch.from_numpy(run(np.stack([image] * 3))["probabilities"])
        expected = plain.probabilities(plain.logits(plain.preprocess(image)))
        assert given.shape == (3, 6) and torch.allclose(given.sum(1), torch.ones(3), atol=1e-5)
        assert (given - expected).abs().max() < 5e-3
        found, wanted = moganet.load(path)(image)[0], plain(image)[0]
        assert found.names == wanted.names
        assert np.allclose(found.probabilities, wanted.probabilities, atol=5e-3)


@pytest.fixture(scope="module")
def graph_of_onnx():
    """Let torch make the graph of the small model once: its precisions are made of the same one."""
    made, export = [], torch.onnx.export

    def once(*given, **options):
        if not made:
            made.append(export(*given, **options))
        return made[0]

    return once


@pytest.mark.parametrize(("to", "precision"), HALVES)
def test_other_precisions_stay_within_their_tolerance(
    to, precision, photos, tmp_path, graph_of_onnx, monkeypatch, capsys
):
    need(to)
    if precision == "int8":
        pytest.importorskip("nncf", reason="nncf is not installed (extra 'export')")
    data = {"data": str(photos)} if precision == "int8" else {}
    full = exported(to)
    monkeypatch.setattr("torch.onnx.export", graph_of_onnx)
    result = export(model(), to, tmp_path / f"m{EXPORTERS[to].SUFFIX}", precision=precision, **data)
    said = capsys.readouterr()
    assert said.out == "" and "%" not in said.err, "stdout holds the result alone, and bars are for terminals"
    assert 0 < result["deviation"] <= result["tolerance"] or precision == "bf16"  # without units it is computed in f32
    assert moganet.load(result["out"]).precision == precision
    if precision == "int8":
        assert result["agreement"] >= 0.95 and 0 <= result["top1"] <= 1
    if precision == "f16" and to != "program":  # whose graph outweighs so small a network
        assert result["bytes"] < sum(part.stat().st_size for part in full.parent.iterdir())


@pytest.mark.parametrize("to", EXPORTERS)
def test_an_exported_file_is_a_model_for_other_commands(to, photos):
    for kind in ("plain", "raw")[: 1 + (to in ("openvino", "program"))]:
        path = exported(to, kind)
        given, expected = (
            moganet.evaluate(path, data=str(photos), split="all"),
            moganet.evaluate(model(), data=str(photos), split="all"),
        )
        assert given["top1"] == expected["top1"] and given["runtime"] == to
        assert given["loss"] == pytest.approx(expected["loss"], abs=1e-2 if kind == "raw" else 1e-4)
    predicted = moganet.predict(path, [photos], top_k=1)["predictions"]
    assert len(predicted) == 18 and predicted[0]["classes"][0]["name"].startswith("class ")
    assert moganet.info(exported(to))["stages"][0] == [8, 8, 12]


@pytest.mark.parametrize("to", EXPORTERS)
def test_the_metadata_travel_in_the_file(to):
    metadata = read_metadata(exported(to))
    assert metadata.format == to and metadata.size == SIZE and not metadata.raw
    assert metadata.description == moganet.load(model(), "eager").config and len(metadata.description.fixtures) == 2


@pytest.mark.parametrize("to", [to for to in QUICK if to.values[0] in FREE])
def test_a_form_of_another_size_is_compared_at_that_size(to, photos, tmp_path):
    need(to)
    out = tmp_path / f"m{EXPORTERS[to].SUFFIX}"
    result = export(model(), to, out, size=48, data=str(photos))
    assert result["size"] == (48, 48) and result["num_images"] == 18 and result["agreement"] == 1
    assert moganet.load(out).logits(torch.zeros(1, 3, 48, 48)).shape == (1, 6)


@pytest.mark.parametrize("to", QUICK)
def test_a_size_by_option_replaces_the_models(to):
    path = exported(to, size=64)
    other = moganet.load(path)
    assert other.config.preprocessing.size == (64, 64) and other.config.fixtures == ()
    x = torch.randn(3, 3, 64, 64)
    assert (other.logits(x) - moganet.load(model(), "eager").logits(x)).abs().max() < 1e-4


@pytest.mark.parametrize("to", QUICK)
def test_an_export_that_deviates_is_deleted(to, tmp_path, monkeypatch):
    need(to)
    out = tmp_path / f"m{EXPORTERS[to].SUFFIX}"
    out.write_text("an older file")
    monkeypatch.setattr("moganet.inference.export.verify.deviation", lambda given, expected: 0.5)
    with pytest.raises(WeightsError, match="deleted"):
        export(model(), to, out)
    assert [path.name for path in tmp_path.iterdir()] == [out.name] and out.read_text() == "an older file"


@pytest.mark.parametrize("to", EXPORTERS)
@pytest.mark.parametrize("damage", ["cut", "flipped", "text", "empty"])
def test_a_damaged_file_is_said_in_one_line(to, damage, tmp_path):
    source = exported(to)
    content = source.read_bytes()
    path = tmp_path / source.name
    changed = {"cut": content[: len(content) // 2], "text": b"no model", "empty": b""}
    place = len(content) // 2 if to == "program" else 60
    flipped = content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :]
    path.write_bytes(changed.get(damage, flipped))
    if to == "openvino":
        path.with_suffix(".bin").write_bytes(
            source.with_suffix(".bin").read_bytes()[: 100 if damage == "flipped" else None]
        )
    with pytest.raises(MogaNetError) as caught:
        moganet.load(path).logits(torch.zeros(1, 3, *SIZE))
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Duplicate name")  # in the archive that this test makes
def test_a_program_that_would_run_more_than_a_network_is_not_loaded(tmp_path):
    import pickle
    import shutil
    import zipfile

    class Hostile:
        def __reduce__(self):
            return (open, (str(tmp_path / "written"), "w"))

    source = exported("program")
    for place, content in (
        ("data/constants/opaque_obj_0", pickle.dumps(Hostile())),
        ("data/sample_inputs/model.pt", pickle.dumps(Hostile())),
        (
            "data/constants/model_constants_config.json",
            b'{"config": {"x": {"path_name": "opaque_obj_0", "use_pickle": true}}}',
        ),
        ("models/other.json", b'{"expr_str": "__import__(\'os\').getcwd()"}'),
    ):
        path = tmp_path / "hostile.pt2"
        shutil.copy(source, path)
        with zipfile.ZipFile(path, "a") as archive:
            root = archive.namelist()[0].partition("/")[0]
            archive.writestr(f"{root}/{place}", content)
        with pytest.raises(WeightsError, match=r"was not loaded|two of its entries have one name"):
            moganet.load(path)
        assert not (tmp_path / "written").exists()


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"to": "tensorrt"}, ConfigError, "onnx, openvino, program, executorch"),
        ({"to": "onnx", "precision": "bf16"}, ConfigError, "openvino or program"),
        ({"to": "program", "precision": "int8"}, ConfigError, "f32, bf16, f16"),
        ({"to": "openvino", "precision": "f8"}, ConfigError, "int8"),
        ({"to": "program", "size": 0}, ConfigError, "at least 1"),
        ({"to": "program", "raw": True, "any_size": True}, ConfigError, "leave"),
        ({"to": "executorch", "raw": True}, ConfigError, "leave --raw out, or use --to onnx"),
        ({"to": "executorch", "any_size": True}, ConfigError, "leave --any-size out"),
        ({"to": "executorch", "precision": "int8"}, ConfigError, "onnx or openvino"),
        ({"to": "program", "out": "m.onnx"}, OutputError, r"\.pt2"),
    ],
)
def test_what_can_not_be_exported_says_what_can(options, error, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=said) as caught:
        export(model(), **options)
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


def test_an_exported_file_runs_by_its_own_runtime_alone():
    path = exported("program")
    assert moganet.load(path, "eager").runtime == "program"
    with pytest.raises(ConfigError, match="leave the runtime out"):
        moganet.load(path, "onnx")
    with pytest.raises(ConfigError, match="--precision bf16"):
        moganet.load(path, precision="bf16")
    with pytest.raises(ConfigError, match="exported file"):
        export(path, "onnx")


def test_grey_images_and_one_class(tmp_path):
    need("openvino")
    path = make_model(tmp_path / "m.safetensors", channels=1, classes=1)
    result = export(path, "openvino", raw=True)
    assert moganet.load(result["out"])(np.zeros((30, 40), np.uint8))[0].probabilities == pytest.approx((1.0,))


@pytest.mark.parametrize("to", EXPORTERS)
def test_an_export_is_verified_and_described_as_any_model(to):
    path = exported(to)
    found = moganet.verify(path)
    assert found["ok"] and found["fixtures"] == 2 and found["sha256"] is None and found["max_deviation"] < 1e-3
    assert not moganet.verify(path, tolerance=1e-12)["ok"]
    described = moganet.info(path)
    assert described["file"]["format"] == to and described["file"]["precision"] == "f32" and described["layers"]


def test_a_count_that_python_lost_is_no_networks_fault(monkeypatch, tmp_path):
    need("onnx")
    from moganet.inference.export import onnx

    said, asked = iter([SystemError("AST constructor recursion depth mismatch (before=186, after=70)")]), []

    def exported(*arguments, **how):
        asked.append(arguments)
        if fault := next(said, None):
            raise fault
        raise SystemError("something else")

    monkeypatch.setattr(onnx.torch.onnx, "export", exported)
    with pytest.raises(WeightsError, match="something else"):
        export(model(), "onnx", tmp_path / "x.onnx")
    assert len(asked) == 2
