"""Rules that hold for the whole of the code: who reads the configuration, and how large things get."""

from __future__ import annotations

import ast
import re
import statistics
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

import fpt
from fpt.core.config import load_cfg
from fpt.core.defaults import OPTIONS
from fpt.core.merge import flatten_options

ROOT = Path(__file__).resolve().parents[1]
LIB = ROOT / "lib"
CONFIGS = sorted((ROOT / "configs").rglob("*.yaml"))
SOURCES = [path for folder in ("lib", "tools", "tests", "demos") for path in sorted((ROOT / folder).rglob("*.py"))]
DETERMINED = ("MRCNN.RESOLUTION",)
"""Options that follow from another one: ``check_cfg`` refuses any other value, and builders read that other one."""
Paths = set[tuple[str, ...]]


def _parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def _is_reader(path: Path) -> bool:
    """Whether a file may read the configuration: builders, runs, command lines, the configuration and its door."""
    return path.name == "build.py" or path.relative_to(LIB).parts[0] in ("run", "cli", "core", "__init__.py")


class _Reads(ast.NodeVisitor):
    """Paths of options that a file reads; names bound to a group (``train = cfg.TRAIN``) are followed.

    A ``?`` stands for the group where an upper-case attribute belongs to a name that isn't known, such as the
    parameter of a helper, and for the key where a subscript is computed.
    """

    def __init__(self, tree: ast.Module) -> None:
        self.paths: Paths = set()
        self._groups: dict[str, Paths] = {"cfg": {()}}
        self.visit(tree)

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:  # noqa: N802
        outer = self._groups
        parameters = {argument.arg for argument in (*node.args.args, *node.args.kwonlyargs)} - {"cfg"}
        self._groups = {name: paths for name, paths in outer.items() if name not in parameters}
        for _ in range(3):  # aliases of aliases
            for inner in ast.walk(node):
                if isinstance(inner, ast.Assign):
                    self._bind(inner.targets, inner.value)
        self.generic_visit(node)
        self._groups = outer

    def _bind(self, targets: list[ast.expr], value: ast.expr) -> None:
        for target in targets:
            if isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple):
                for one, its_value in zip(target.elts, value.elts, strict=False):
                    self._bind([one], its_value)
            elif isinstance(target, ast.Name) and (paths := self._resolve(value)):
                self._groups.setdefault(target.id, set()).update(paths)

    def _resolve(self, node: ast.expr) -> Paths:
        if isinstance(node, ast.Name):
            return self._groups.get(node.id, set())
        if isinstance(node, ast.IfExp):
            return self._resolve(node.body) | self._resolve(node.orelse)
        if isinstance(node, ast.Attribute) and node.attr == "cfg":
            return {()}  # self.cfg
        if isinstance(node, ast.Attribute) and node.attr.isupper():
            owners = self._resolve(node.value) or {("?",)}
            return {(*owner, node.attr) for owner in owners}
        if isinstance(node, ast.Subscript):
            key = node.slice.value if isinstance(node.slice, ast.Constant) else "?"
            return {(*owner, str(key)) for owner in self._resolve(node.value)}
        return set()

    def visit_Attribute(self, node: ast.Attribute) -> None:  # noqa: N802
        self.paths |= self._resolve(node)
        self.generic_visit(node)

    def visit_Subscript(self, node: ast.Subscript) -> None:  # noqa: N802
        self.paths |= self._resolve(node)
        self.generic_visit(node)

    def reads(self, key: str) -> bool:
        *groups, name = key.split(".")
        if (*groups, name) in self.paths or (*groups, "?") in self.paths:
            return True
        return bool(groups) and ("?", name) in self.paths


def test_package_is_the_folder_lib() -> None:
    assert Path(fpt.__file__).resolve().parent == LIB


def test_every_option_is_read() -> None:
    readers = [path for path in sorted(LIB.rglob("*.py")) if _is_reader(path)]
    readers = [path for path in readers if path.relative_to(LIB).parts[0] != "core" or path.name == "config.py"]
    reads = [_Reads(_parse(path)) for path in readers]
    keys = [key for key, _ in flatten_options(OPTIONS) if key not in DETERMINED]
    unread = [key for key in keys if not any(item.reads(key) for item in reads)]
    assert not unread, f"options that nothing reads: {', '.join(unread)}"


@pytest.mark.parametrize(
    ("source", "key", "is_read"),
    [
        ("cfg.TRAIN.SCALES", "TRAIN.SCALES", True),
        ("cfg.TRAIN.SCALES", "TEST.SCALE", False),
        ("self.cfg.TRAIN.SCALES", "TRAIN.SCALES", True),
        ("args.cfg_file.TRAIN", "TRAIN.SCALES", False),
        ("def f(cfg):\n    train = cfg.TRAIN\n    train.MAX_SIZE", "TRAIN.MAX_SIZE", True),
        ("def f(cfg):\n    train = cfg.TRAIN\n    train.MAX_SIZE", "TEST.MAX_SIZE", False),
        ("def f(cfg):\n    mode = cfg.TRAIN if t else cfg.TEST\n    mode.MAX_SIZE", "TEST.MAX_SIZE", True),
        ("def f(cfg):\n    a, b = cfg.TRAIN, cfg.MODEL.FPT\n    b.NORM", "MODEL.FPT.NORM", True),
        ("def f(group): return group.NORM", "MODEL.FPT.NORM", True),
        ("def f(cfg):\n    a = cfg.TEST\ndef g(a):\n    a.SCALES", "TRAIN.SCALES", True),
        ("cfg.FPN[f'{kind}_MIN_LEVEL']", "FPN.ROI_MIN_LEVEL", True),
        ("cfg.FPN", "FPN.DIM", False),
        ("# cfg.FPN.DIM\n'cfg.FPN.DIM'", "FPN.DIM", False),
    ],
)
def test_the_reading_of_reads(source: str, key: str, is_read: bool) -> None:
    assert _Reads(ast.parse(source)).reads(key) is is_read


def _identifiers(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.id, node.lineno
        elif isinstance(node, ast.arg):
            yield node.arg, node.lineno
        elif isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.alias):
            yield (node.asname or node.name), node.lineno


def test_no_configuration_below_the_builders() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in sorted(LIB.rglob("*.py"))
        if not _is_reader(path)
        for name, line in _identifiers(_parse(path))
        if name in ("cfg", "CfgNode", "get_cfg", "load_cfg")
    ]
    assert not found, "the configuration is read by build.py files and cli only: " + ", ".join(found)


def test_command_lines_are_parsed_by_cli_alone() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}"
        for path in sorted(LIB.rglob("*.py"))
        if path.relative_to(LIB).parts[0] != "cli"
        for name, line in _identifiers(_parse(path))
        if name in ("argparse", "Namespace", "argv")
    ]
    assert not found, "arguments of a command are read by cli only: " + ", ".join(found)


OTHER_WORDS = {
    r"[Pp]icture|PICTURE": "image",
    r"(?<![A-Za-z])(?<!conv[45]_)(?<![Cc]onv_)(?<!backbone\.)[Bb]od(y|ies)(?![a-z])"
    r"|(?<=[a-z])Bod(y|ies)|(?<!CONV_)BOD": "backbone",
    r"obituar|(?<![a-z])twins?(?![a-z])|stranger|(?<![a-z])wish|set_aside|set aside|reckon": "the field's word",
    r"(?<![a-z])(is_)?sound(?![a-z])|settled|(?<![a-z])spreads?(?![a-z])|is_passing|in_passing": "the field's word",
}
"""Words that are not used here -> what is said instead."""
LEGACY_NAMES = {
    "lib/checkpoint/format_1.py": ("body", "picture"),
    "lib/cli/check_data.py": ("picture",),
    "lib/core/legacy.py": ("body",),
    "tests/checkpoint/test_format_1.py": ("body", "picture"),
    "tests/cli/test_check_data.py": ("picture",),
    "tests/core/test_legacy.py": ("body",),
    "lib/checkpoint/manifest.py": ("passing",),
    "tests/test_architecture.py": ("*",),
}
"""Where names of older files stand, and which of those words."""


@pytest.mark.parametrize("pattern", OTHER_WORDS)
def test_one_word_for_one_thing(pattern: str) -> None:
    suffixes = (".py", ".md", ".yaml", ".toml", ".sh")
    files = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "Makefile", ROOT / "pyproject.toml"]
    for folder in ("lib", "tools", "tests", "demos", "configs", "docs", "data"):
        files += [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in suffixes and path.is_file()]
    found = []
    for path in files:
        name = str(path.relative_to(ROOT))
        legacy = LEGACY_NAMES.get(name, ())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
            words = [match.group(0) for match in re.finditer(pattern, line)]
            found += [f"{name}:{number} {word}" for word in words if "*" not in legacy and word not in legacy]
    assert not found, f"say {OTHER_WORDS[pattern]}: " + ", ".join(found)


def _fields(node: ast.ClassDef) -> list[str]:
    """Public fields of a dataclass or a named tuple; none of other classes."""
    decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
    is_tuple = any(ast.unparse(base) == "NamedTuple" for base in node.bases)
    if not is_tuple and not any(text.startswith("dataclass") for text in decorators):
        return []
    annotated = [
        inner for inner in node.body if isinstance(inner, ast.AnnAssign) and isinstance(inner.target, ast.Name)
    ]
    names = [inner.target.id for inner in annotated if "ClassVar" not in ast.unparse(inner.annotation)]
    return [name for name in names if not name.startswith("_")]


def test_every_field_is_an_attribute_in_the_docstring() -> None:
    found = []
    for path in SOURCES:
        if path.relative_to(ROOT).parts[0] not in ("lib", "tools"):
            continue
        for node in ast.walk(_parse(path)):
            if isinstance(node, ast.ClassDef) and (fields := _fields(node)):
                described = (ast.get_docstring(node) or "").partition("Attributes:")[2]
                missing = [name for name in fields if not re.search(rf"\b{name}[:,]", described)]
                found += [f"{path.relative_to(ROOT)} {node.name}: {', '.join(missing)}"] if missing else []
    assert not found, f"fields that no line under `Attributes:` describes: {'; '.join(found)}"


def test_files_are_short() -> None:
    lengths = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    long = [f"{path.relative_to(ROOT)} ({count})" for path, count in lengths.items() if count > 500]
    assert not long, "files of over 500 lines: " + ", ".join(long)
    assert statistics.median(count for path, count in lengths.items() if LIB in path.parents) <= 150


def _num_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Lines of a function without its docstring."""
    total = (function.end_lineno or function.lineno) - function.lineno + 1
    first = function.body[0]
    if ast.get_docstring(function) is None or first.end_lineno is None:
        return total
    return total - (first.end_lineno - first.lineno + 1)


def test_functions_are_short() -> None:
    long = [
        f"{path.relative_to(ROOT)}:{node.lineno} {node.name} ({_num_lines(node)})"
        for path in SOURCES
        for node in ast.walk(_parse(path))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and _num_lines(node) > 50
    ]
    assert not long, "functions of over 50 lines: " + ", ".join(long)


@pytest.mark.parametrize("path", CONFIGS, ids=[str(path.relative_to(ROOT / "configs")) for path in CONFIGS])
def test_every_recipe_loads_and_builds(path: Path) -> None:
    from fpt.modeling.build import build_model

    cfg = load_cfg(path, ["MODEL.LOAD_IMAGENET_PRETRAINED_WEIGHTS", "False"])
    if cfg.MODEL.KEYPOINTS_ON and not cfg.KRCNN.NUM_KEYPOINTS:  # a training takes it from its data
        cfg = load_cfg(path, ["KRCNN.NUM_KEYPOINTS", "5"])
    with torch.device("meta"):
        model = build_model(cfg, num_classes=1 + (len(cfg.SEMANTIC.CLASS_WEIGHTS) or 3))
    assert sum(parameter.numel() for parameter in model.parameters()) > 100_000
    for name in (*cfg.TRAIN.DATASETS, *cfg.TEST.DATASETS):
        assert name in cfg.DATASETS or name.startswith(
            ("coco_", "keypoints_coco_", "cityscapes_", "ade20k_", "lip_", "voc_")
        )


@pytest.mark.parametrize("kind", ["det", "det_2fc", "mask"])
def test_recipes_hold_the_published_settings(kind: str) -> None:
    cfg = load_cfg(ROOT / "configs" / f"e2e_fptnet_R-50_{kind}.yaml")
    solver, steps = cfg.SOLVER, (120000, 160000, 180000) if kind == "mask" else (80000, 100000, 120000)
    assert (*solver.STEPS, solver.MAX_ITER) == (0, *steps)
    assert (solver.TYPE, solver.MOMENTUM, solver.GAMMA) == ("SGD", 0.9, 0.1)
    assert (solver.BASE_LR, solver.WEIGHT_DECAY, cfg.NUM_GPUS) == (0.05, 1e-4, 8)
    assert (cfg.TRAIN.SCALES, cfg.TRAIN.MAX_SIZE) == ((1200, 1200, 1000, 800, 600, 400), 1400)
    assert (cfg.TEST.SCALE, cfg.TEST.NMS, cfg.TRAIN.BATCH_SIZE_PER_IM) == (1000, 0.5, 512)
    assert (cfg.TEST.RPN_PRE_NMS_TOP_N, cfg.TEST.RPN_POST_NMS_TOP_N) == (1000, 1000)
    assert cfg.MODEL.CONV_BODY == "FPN.ResNet50_conv5_body_fpt"
    assert cfg.FPN.USE_GN
    assert cfg.RESNETS.IMAGENET_PRETRAINED_WEIGHTS == "data/pretrained_model/resnet50_caffe.pth"
    head = "roi_2mlp_head_gn_fptnet" if kind == "det_2fc" else "roi_Xconv1fc_gn_head_fptnet"
    assert cfg.FAST_RCNN.ROI_BOX_HEAD == f"fast_rcnn_heads.{head}"
    assert (cfg.FAST_RCNN.ROI_XFORM_RESOLUTION, cfg.FAST_RCNN.ROI_XFORM_SAMPLING_RATIO) == (7, 2)
    assert (kind == "mask") is cfg.MODEL.MASK_ON
    if kind == "mask":
        assert cfg.MRCNN.ROI_MASK_HEAD == "mask_rcnn_heads.mask_rcnn_fcn_head_v1up4convs_gn_adp_ff"
        assert (cfg.MRCNN.RESOLUTION, cfg.MRCNN.ROI_XFORM_RESOLUTION, cfg.MRCNN.CONV_INIT) == (28, 14, "MSRAFill")
