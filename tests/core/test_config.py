"""Loading of the configuration: files, pairs, types, and what each message says."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from fpt.core.check import LENGTHS
from fpt.core.config import (
    get_cfg,
    load_cfg,
    parse_cfg,
    resolve_data_path,
    resolve_weights_path,
    set_keys,
    with_absolute_paths,
)
from fpt.core.defaults import OPTIONS
from fpt.core.merge import flatten_options
from fpt.core.option import Option
from fpt.core.values import element_type
from fpt.utils.errors import UserError


def value_of(key: str, text: object) -> object:
    cfg = load_cfg(None, [key, text])
    return dict(cfg.leaves())[key]


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("SOLVER.BASE_LR", "1e-4", 1e-4),
        ("SOLVER.BASE_LR", "1", 1.0),
        ("SOLVER.BASE_LR", 1, 1.0),
        ("SOLVER.MAX_ITER", "9e4", 90000),
        ("TRAIN.SCALES", "(1200, 800)", (1200, 800)),
        ("TRAIN.SCALES", "[1200,800]", (1200, 800)),
        ("TRAIN.SCALES", "128", (128,)),
        ("TRAIN.DATASETS", "('a', 'b')", ("a", "b")),
        ("TRAIN.DATASETS", "coco_2017_train", ("coco_2017_train",)),
        ("TEST.EVALUATOR", "auto", ("auto",)),
        ("SOLVER.LRS", "(1, 0.1)", (1.0, 0.1)),
        ("MODEL.MASK_ON", "True", True),
        ("MODEL.MASK_ON", "false", False),
        *[("MODEL.MASK_ON", word, True) for word in ("yes", "On", "1", "TRUE", 1)],
        *[("TRAIN.USE_FLIPPED", word, False) for word in ("no", "OFF", "0", 0)],
        ("PIXEL_MEANS", "auto", "auto"),
        ("PIXEL_STDS", "'auto'", "auto"),
        ("DEVICE", "cuda:1", "cuda:1"),
        ("DEVICE", "mps", "mps"),
        ("OUTPUT_DIR", "2024", "2024"),
        ("OUTPUT_DIR", "'a b'", "a b"),
        ("SOLVER.AMP", "bf16", "bf16"),
        ("PIXEL_MEANS", "[[[1, 2, 3]]]", (1.0, 2.0, 3.0)),
    ],
)
def test_values_take_the_type_of_the_option(key: str, text: object, value: object) -> None:
    result = value_of(key, text)
    assert result == value
    assert type(result) is type(value)
    if isinstance(value, tuple):
        assert [type(item) for item in result] == [type(item) for item in value]


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("SOLVER.MAX_ITER", "True", "SOLVER.MAX_ITER is True, but a whole number is due"),
        ("SOLVER.MAX_ITER", "1.5", "SOLVER.MAX_ITER is 1.5, but a whole number is due"),
        ("SOLVER.BASE_LR", "fast", "SOLVER.BASE_LR is 'fast', but a number is due"),
        ("SOLVER.BASE_LR", "1e999", "but a finite number is due"),
        ("MODEL.MASK_ON", "2", "MODEL.MASK_ON is 2, but True or False is due"),
        ("SOLVER.STEPS", "100", "SOLVER.STEPS is '100', but a sequence is due: write it as"),
        ("SOLVER.STEPS", "(1, 'x')", "one element is 'x', but a whole number is due"),
        ("TRAIN.DATASETS", "(a, b)", "TRAIN.DATASETS is '(a, b)', but a sequence is due"),
        ("SOLVER.AMP", "fp8", "SOLVER.AMP is 'fp8', but must be one of 'off', 'bf16', 'fp16' (in --set)"),
        ("MODEL.FPT.INTERACTIONS", "('self', 'x')", "each must be one of 'self', 'grounding', 'rendering'"),
        ("TEST.NMS", "1.5", "TEST.NMS is 1.5, but must be at most 1 (in --set)"),
        ("TRAIN.SCALES", "(800, 0)", "TRAIN.SCALES is (800, 0), but each must be at least 1"),
        ("PIXEL_STDS", "(1, 2)", "PIXEL_STDS is (1.0, 2.0), but 3 numbers are due"),
        ("FPN", "2", "FPN is a group of options, not one: it holds DIM, USE_GN"),
        ("DATASETS", "x", "DATASETS is 'x', but it holds groups"),
        ("DEVICE", "gpu", "DEVICE is 'gpu', but must be auto, cpu, cuda, cuda:0 (or another number) or mps"),
        ("DEVICE", "cuda:x", "DEVICE is 'cuda:x', but must be auto"),
        ("PIXEL_MEANS", "none", "PIXEL_MEANS is 'none', but a sequence is due"),
        ("PIXEL_FORMAT", "GRB", "PIXEL_FORMAT is 'GRB', but must be one of 'auto', 'BGR', 'RGB'"),
    ],
)
def test_wrong_values_are_named(key: str, text: str, message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_cfg(None, [key, text])
    assert message in str(caught.value)


def _numbers() -> list[str]:
    return [key for key, option in flatten_options(OPTIONS) if _element(option) in (int, float)]


def _element(option: Option) -> type:
    return element_type(option) if option.element or isinstance(option.default, tuple) else type(option.default)


@pytest.mark.parametrize("key", _numbers())
def test_every_number_has_limits(key: str) -> None:
    option = dict(flatten_options(OPTIONS))[key]
    assert option.low is not None
    assert option.high is not None
    is_sequence = isinstance(option.default, tuple) or option.element is not None
    for number in ("1e300", "-1e300"):
        numbers = f"({', '.join([number] * (LENGTHS.get(key) or 2))})"
        with pytest.raises(UserError, match=f"{key} is .* must be at (least|most)"):
            load_cfg(None, [key, numbers if is_sequence else number])


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("SOLVER.BASELR", "SOLVER.BASE_LR"),
        ("MAX_ITER", "SOLVER.MAX_ITER"),
        ("SLOVER.MAX_ITERS", "SOLVER.MAX_ITER"),
        ("TRAIN.DATASET_", "TRAIN.DATASETS"),
        ("solver.base_lr", "SOLVER.BASE_LR"),
    ],
)
def test_unknown_key_names_the_nearest(key: str, nearest: str) -> None:
    with pytest.raises(UserError) as caught:
        load_cfg(None, [key, "1"])
    assert f"{key} is unknown; the nearest known key is {nearest} (in --set)" in str(caught.value)


def test_file_then_pairs_and_all_errors_at_once(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("SOLVER: {BASE_LR: 1e-2, MAX_ITER: 10}\nTRAIN:\n  SCALES: (400, 500)\n")
    cfg = load_cfg(path, ["SOLVER.MAX_ITER", "20"])
    assert (cfg.SOLVER.BASE_LR, cfg.SOLVER.MAX_ITER, cfg.TRAIN.SCALES) == (0.01, 20, (400, 500))
    assert cfg.is_frozen
    path.write_text("SOLVER: {BASE_RL: 1}\nTRAIN: {MAX_SIZE: x}\n")
    with pytest.raises(UserError) as caught:
        load_cfg(path, ["VISS", "True"])
    message = str(caught.value)
    assert f"SOLVER.BASE_RL is unknown; the nearest known key is SOLVER.BASE_LR (in {path}, line 1)" in message
    assert f"TRAIN.MAX_SIZE is 'x', but a whole number is due (in {path}, line 2)" in message
    assert "VISS is unknown; the nearest known key is VIS (in --set)" in message


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: [", "is not valid yaml"),
        ("- 1\n- 2\n", "must hold KEY: VALUE pairs, but it holds a list"),
    ],
)
def test_broken_files(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(text)
    with pytest.raises(UserError, match=message):
        load_cfg(path)


def test_missing_file_and_odd_pairs(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"config file .*none\.yaml does not exist"):
        load_cfg(tmp_path / "none.yaml")
    with pytest.raises(UserError, match="takes pairs, KEY VALUE"):
        load_cfg(None, ["SOLVER.BASE_LR"])


def test_empty_file_is_the_defaults(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("# nothing\n")
    assert load_cfg(path) == get_cfg()


def test_key_that_stands_twice_warns(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("SOLVER:\n  GAMMA: 0.1\n  MAX_ITER: 10\n  GAMMA: 0.2\n")
    with caplog.at_level(logging.WARNING, "fpt"):
        cfg = load_cfg(path)
    assert cfg.SOLVER.GAMMA == 0.2
    assert f"GAMMA (in {path}, line 4): stands twice in its group; the last one counts" in caplog.text


def test_yaml_off_is_the_word(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("SOLVER:\n  AMP: off\n")
    assert load_cfg(path).SOLVER.AMP == "off"


def test_dump_loads_back(tmp_path: Path) -> None:
    cfg = load_cfg(None, ["SOLVER.BASE_LR", "1e-5", "DATASETS.a", "{'IMAGE_DIR': 'x', 'ANN_FILE': 'y'}"])
    path = tmp_path / "dump.yaml"
    path.write_text(cfg.dump())
    assert load_cfg(path) == cfg


def test_datasets_are_declared_in_yaml_and_pairs(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("DATASETS:\n  nuts.v1: {IMAGE_DIR: a, ANN_FILE: b}\n")
    cfg = load_cfg(path, ["DATASETS.nuts.v1.IMAGE_DIR", "c", "DATASETS.x.IMAGE_DIR", "1", "DATASETS.x.ANN_FILE", "d"])
    assert cfg.DATASETS.to_dict() == {
        "nuts.v1": {"IMAGE_DIR": "c", "ANN_FILE": "b"},
        "x": {"IMAGE_DIR": "1", "ANN_FILE": "d"},
    }
    assert get_cfg().DATASETS == {}


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["DATASETS.a.IMG_DIR", "x"], "DATASETS.a.IMG_DIR is unknown; the nearest known key is DATASETS.a.IMAGE_DIR"),
        (["DATASETS.a.IMAGE_DIR", "x"], "DATASETS.a.ANN_FILE is missing"),
        (["DATASETS.a", "x"], "a data set is declared as {IMAGE_DIR: ..., ANN_FILE: ...}"),
    ],
)
def test_wrong_declarations(opts: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_cfg(None, opts)
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (["MODEL.MASK_ON", "True", "MRCNN.RESOLUTION", "14"], "MRCNN.RESOLUTION is 14, but the mask heads double"),
        (["FPN.ROI_MIN_LEVEL", "5", "FPN.ROI_MAX_LEVEL", "3"], "FPN.ROI_MIN_LEVEL is 5, but must not be above"),
        (["FPN.RPN_ASPECT_RATIOS", "()"], "FPN.RPN_ASPECT_RATIOS is empty"),
        (["TRAIN.RPN_NEGATIVE_OVERLAP", "0.8"], "TRAIN.RPN_NEGATIVE_OVERLAP is 0.8"),
        (["TRAIN.BG_THRESH_LO", "0.6"], "TRAIN.BG_THRESH_LO is 0.6"),
        (["TRAIN.FG_THRESH", "0.4"], "TRAIN.BG_THRESH_HI is 0.5"),
        (["TRAIN.SCALES", "()"], "TRAIN.SCALES is empty"),
        (["SOLVER.STEPS", "(20, 10)"], "SOLVER.STEPS is (20, 10), but must rise"),
        (["MODEL.FPT.LOCAL_WINDOW", "4"], "MODEL.FPT.LOCAL_WINDOW is 4, but a window needs a centre"),
        (["MODEL.FPT.INTERACTIONS", "('self', 'self')"], "each may stand once only"),
    ],
)
def test_options_that_do_not_fit_together(opts: list[str], message: str) -> None:
    with pytest.raises(UserError) as caught:
        load_cfg(None, opts)
    assert message in str(caught.value)


def test_data_lie_beside_the_yaml_file_wherever_a_command_is_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "fpt")
    own, elsewhere = tmp_path / "own", tmp_path / "elsewhere"
    for folder in (own / "shapes", elsewhere / "data" / "shapes", elsewhere / "data" / "other"):
        folder.mkdir(parents=True)
    (own / "a.yaml").write_text("")
    monkeypatch.chdir(elsewhere)
    cfg = load_cfg(own / "a.yaml")
    assert resolve_data_path(cfg, "shapes") == own / "shapes"
    assert f"shapes: {own / 'shapes'} is used; not data/shapes" in caplog.text
    caplog.clear()
    assert resolve_data_path(cfg, "other") == Path("data/other")
    given = load_cfg(own / "a.yaml", ["DATA_DIR", "data"])
    assert resolve_data_path(given, "other") == Path("data/other")
    assert not caplog.records
    assert resolve_data_path(given, "shapes") == Path("data/shapes")
    assert f"data/shapes is used; not {own / 'shapes'}" in caplog.text
    with pytest.raises(UserError, match=r"looked at .*own/gone and data/gone; set DATA_DIR"):
        resolve_data_path(cfg, "gone")


def test_data_paths_count_from_data_dir_then_from_the_file(tmp_path: Path) -> None:
    data, configs = tmp_path / "data", tmp_path / "configs"
    for folder, name in ((data, "both"), (configs, "both"), (configs, "near")):
        (folder / name).mkdir(parents=True)
    path = configs / "a.yaml"
    path.write_text("DATASETS:\n  a: {IMAGE_DIR: near, ANN_FILE: gone.json, FORMAT: near}\n")
    cfg = load_cfg(path, ["DATA_DIR", str(data)])
    assert resolve_data_path(cfg, "both") == data / "both"
    assert resolve_data_path(cfg.clone(), "near") == configs / "near"
    assert resolve_data_path(cfg, str(data / "both")) == data / "both"
    with pytest.raises(UserError) as caught:
        resolve_data_path(cfg, "gone.json")
    assert f"'gone.json' does not exist; looked at {data / 'gone.json'} and {configs / 'gone.json'}" in str(
        caught.value
    )
    kept = with_absolute_paths(cfg)
    assert kept.DATASETS.a.to_dict() == {"IMAGE_DIR": str(configs / "near"), "ANN_FILE": "gone.json", "FORMAT": "near"}


def test_weights_count_from_the_working_folder_before_its_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "w.pth").touch()
    cfg = get_cfg()
    assert resolve_weights_path(cfg, "w.pth") == Path("data/w.pth")
    (tmp_path / "w.pth").touch()
    assert resolve_weights_path(cfg, "w.pth") == Path("w.pth")
    with pytest.raises(UserError, match="does not exist; looked at gone.pth and data/gone.pth"):
        resolve_weights_path(cfg, "gone.pth")


def test_every_option_is_documented_and_its_default_legal() -> None:
    load_cfg(None)
    for key, option in flatten_options(OPTIONS):
        assert option.doc.endswith("."), key
        if isinstance(option.default, tuple):
            assert element_type(option) in (int, float, str), key


def test_pairs_with_and_without_an_equals_sign() -> None:
    words = ["SOLVER.GAMMA=0.2", "SOLVER.MAX_ITER", "20", "SOLVER.STEPS=(5, 10)", "OUTPUT_DIR=a=b", "DATA_DIR="]
    cfg = load_cfg(None, words)
    assert (cfg.SOLVER.GAMMA, cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS) == (0.2, 20, (5, 10))
    assert (cfg.OUTPUT_DIR, cfg.DATA_DIR) == ("a=b", "")
    assert set_keys([*words, "TRAIN", "{MAX_SIZE: 5}"]) == {
        "SOLVER.GAMMA",
        "SOLVER.MAX_ITER",
        "SOLVER.STEPS",
        "OUTPUT_DIR",
        "DATA_DIR",
        "TRAIN.MAX_SIZE",
    }
    with pytest.raises(UserError, match="but the last word has no value: VIS=1 SOLVER.GAMMA"):
        load_cfg(None, ["VIS=1", "SOLVER.GAMMA"])
    with pytest.raises(UserError, match="is no key; a key has at most 120 printable characters"):
        load_cfg(None, ["a\nb", "1"])


def test_groups_and_sequences_of_pairs_may_be_yaml() -> None:
    cfg = load_cfg(None, ["DATASETS", "{t: {IMAGE_DIR: a, ANN_FILE: b}}", "TRAIN.DATASETS", "[t, u]"])
    assert cfg.DATASETS.to_dict() == {"t": {"IMAGE_DIR": "a", "ANN_FILE": "b"}}
    assert cfg.TRAIN.DATASETS == ("t", "u")
    cfg = load_cfg(
        None, ["SOLVER={MAX_ITER: 10, STEPS: [5]}", "OUTPUT_DIR", "{run}", "DATASETS.t={IMAGE_DIR: a, ANN_FILE: b}"]
    )
    assert (cfg.SOLVER.MAX_ITER, cfg.SOLVER.STEPS, cfg.OUTPUT_DIR) == (10, (5,), "{run}")
    assert cfg.DATASETS.t.ANN_FILE == "b"
    with pytest.raises(UserError, match="DATASETS is not valid yaml: line 1: .* [(]in --set[)]"):
        load_cfg(None, ["DATASETS", "{t: {IMAGE_DIR: a"])


@pytest.mark.parametrize(
    ("written", "names"),
    [("[box]", ("box",)), ("box", ("box",)), ("[a, b c]", ("a", "b c")), ("('a', 'b')", ("a", "b")), ("['1']", ("1",))],
)
def test_classes_of_a_data_set(tmp_path: Path, written: str, names: tuple[str, ...]) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        f"DATASETS:\n  t.v1: {{IMAGE_DIR: a, ANN_FILE: b}}\n  u: {{IMAGE_DIR: a, ANN_FILE: b, CLASSES: {written!r}}}\n"
    )
    cfg = load_cfg(path, ["DATASETS.t.v1.CLASSES", written])
    assert cfg.DATASETS["t.v1"]["CLASSES"] == names
    path.write_text(f"DATASETS:\n  u:\n    IMAGE_DIR: a\n    ANN_FILE: b\n    CLASSES: {written}\n")
    assert load_cfg(path).DATASETS.u.CLASSES == names
    assert parse_cfg(cfg.dump(), source="a dump") == cfg


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("[]", "but one or more different names are due"),
        ("[a, a]", "but one or more different names are due"),
        ("['']", "but one or more different names are due"),
        ("''", "but one or more different names are due"),
        ("[1, 2]", "one element is 1, but text is due"),
        ("[yes]", "one element is True, but text is due"),
        ("[[a], [b]]", "one element is ['a'], but text is due"),
        ("3", "DATASETS.u.CLASSES is 3, but a sequence is due"),
        ("{0: a, 1: b}", "CLASSES is a sequence of names, such as [box, cup]"),
    ],
)
def test_wrong_classes_are_named(tmp_path: Path, written: str, message: str) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(f"DATASETS:\n  u:\n    IMAGE_DIR: a\n    ANN_FILE: b\n    CLASSES: {written}\n")
    with pytest.raises(UserError) as caught:
        load_cfg(path)
    assert message in str(caught.value)
    assert f"(in {path}, line 5)" in str(caught.value)


def test_steps_that_are_never_reached_warn(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.yaml"
    path.write_text("SOLVER: {MAX_ITER: 90000, STEPS: [0, 60000, 80000]}\n")
    load_cfg(path)
    assert not caplog.records
    load_cfg(path, ["SOLVER.MAX_ITER", "100"])
    assert (
        "SOLVER.MAX_ITER is 100, so that the rate never changes at 60000, 80000 of SOLVER.STEPS; in the proportions of "
        'MAX_ITER 90000: --set SOLVER.STEPS "(0, 67, 89)"' in caplog.text
    )
    caplog.clear()
    for more in (["SOLVER.STEPS", "(0, 67, 89)"], ["SOLVER.LR_POLICY", "cosine"]):
        load_cfg(path, ["SOLVER.MAX_ITER", "100", *more])
    assert not caplog.records
    load_cfg(None, ["SOLVER.MAX_ITER", "100", "SOLVER.STEPS", "(100,)"])
    assert "at 100 of SOLVER.STEPS; set SOLVER.STEPS" in caplog.text


def test_mixed_precision_on_an_apple_gpu_is_refused() -> None:
    with pytest.raises(UserError, match="SOLVER.AMP is bf16, but DEVICE mps computes in float32"):
        load_cfg(None, ["DEVICE", "mps", "SOLVER.AMP", "bf16"])
