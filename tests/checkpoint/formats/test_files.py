"""Weight files of other programs as they lie on a disk: pickles, safetensors, torch files."""

import json
import pickle
import struct
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from torch import nn

from fpt.checkpoint.backbone_weights import expected_pixels, load_backbone_weights
from fpt.checkpoint.checkpoint import ForeignCheckpoint, load_checkpoint, load_fitting_weights, load_weights
from fpt.checkpoint.formats.pickles import read_numpy_pickle
from fpt.checkpoint.formats.programs import DETECTRON, DETECTRON_PYTORCH, our_layout
from fpt.checkpoint.formats.reader import read_weight_file
from fpt.checkpoint.formats.safetensors import read_safetensors, write_safetensors
from fpt.core.config import load_cfg
from fpt.layers.norm import FrozenBatchNorm2d
from fpt.modeling.backbone.resnet import BlockSettings, ResNet
from fpt.modeling.build import build_model
from fpt.utils.errors import UserError

SMALL = (
    *("MODEL.CONV_BODY", "FPN.ResNet50_conv5_body", "RESNETS.BASE_CHANNELS", "16", "FPN.DIM", "16"),
    *("FAST_RCNN.MLP_HEAD_DIM", "16", "MRCNN.DIM_REDUCED", "16", "MODEL.MASK_ON", "True"),
)


def small_backbone() -> ResNet:
    torch.manual_seed(0)
    settings = BlockSettings(norm=lambda channels, ends_branch: FrozenBatchNorm2d(channels))
    return ResNet(depth=50, settings=settings, base_channels=16)


def small_model(num_classes: int = 4) -> nn.Module:
    torch.manual_seed(0)
    model = build_model(load_cfg(None, list(SMALL)), num_classes=num_classes)
    for name, value in model.named_buffers():
        if name.endswith((".weight", ".bias")):
            value.uniform_(0.5, 1.5)
    return model


def as_detectron(model: nn.Module) -> dict[str, np.ndarray]:
    """The blobs of a model whose BatchNorm is a scale and a bias."""
    state = model.state_dict()
    renaming = DETECTRON.renaming(our_layout(state))
    return {
        renaming.to_theirs(name)[0]: value.numpy()
        for name, value in state.items()
        if not name.endswith(("running_mean", "running_var"))
    }


def as_detectron_pytorch(model: nn.Module) -> OrderedDict[str, torch.Tensor]:
    """Parameters in the order in which Detectron.pytorch registers them: the backbone, the RPN, the heads."""
    state = model.state_dict()
    renaming = DETECTRON_PYTORCH.renaming(our_layout(state))
    names = [name for name in state if not name.endswith(("running_mean", "running_var"))]
    return OrderedDict((renaming.to_theirs(name)[0], state[name]) for name in names)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("has_blobs", [True, False])
def test_pickle_of_detectron(tmp_path: Path, protocol: int, has_blobs: bool) -> None:
    model = small_model()
    blobs = as_detectron(model)
    blobs["conv1_b"] = np.zeros(16, np.float32)
    blobs["mystery"] = np.zeros(3, np.float32)
    file = tmp_path / "model_final.pkl"
    file.write_bytes(pickle.dumps({"blobs": blobs, "cfg": "MODEL: {}"} if has_blobs else blobs, protocol))
    checkpoint = load_checkpoint(file)
    assert isinstance(checkpoint, ForeignCheckpoint)
    assert (checkpoint.origin.program, checkpoint.origin.conventions) == ("detectron", "detectron")
    assert checkpoint.classes == ["class 1", "class 2", "class 3"]
    other = build_model(load_cfg(None, list(SMALL)), num_classes=4)
    load_weights(other, checkpoint, source=file)
    for name, value in model.state_dict().items():
        if "running_" not in name:
            assert torch.equal(other.state_dict()[name], value), name


def test_affine_layers_are_exactly_affine(tmp_path: Path) -> None:
    model = small_model()
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(as_detectron(model), 2))
    load_weights(model, load_checkpoint(file), source=file)
    norm = model.backbone.bn1
    scale, bias = norm.fold()
    torch.testing.assert_close(scale, norm.weight, rtol=2e-7, atol=0)
    assert torch.equal(bias, norm.bias)


def test_pickles_of_python_2_and_other_orders_of_bytes(tmp_path: Path) -> None:
    array = np.arange(6, dtype=">f4").reshape(2, 3)
    file = tmp_path / "old.pkl"
    # what Python 2 writes: raw bytes as a text of protocol 2
    raw = array.tobytes()
    data = pickle.dumps({"a": array, "b": np.asfortranarray(array), "c": np.float32(2.5), "d": "text"}, 2)
    file.write_bytes(data)
    content = read_numpy_pickle(file)
    np.testing.assert_array_equal(content["a"], array)
    np.testing.assert_array_equal(content["b"], array)
    assert content["a"].dtype == np.dtype("f4")
    assert (content["c"], content["d"]) == (2.5, "text")
    head = b"\x80\x02}q\x00U\x01aq\x01cnumpy.core.multiarray\n_reconstruct\nq\x02cnumpy\nndarray\nq\x03"
    head += b"K\x00\x85q\x04U\x01b\x87Rq\x05"
    state = b"(K\x01K\x02K\x03\x86cnumpy\ndtype\nU\x02f4K\x00K\x01\x87R(K\x03U\x01>NNN"
    state += b"J\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
    file.write_bytes(head + state + b"U" + bytes([len(raw)]) + raw + b"tbs.")
    np.testing.assert_array_equal(read_numpy_pickle(file)["a"], array)


def test_arrays_of_python_2_in_its_text_protocol(tmp_path: Path) -> None:
    array = np.array([1.5, -2.25, 3e5], "<f4")
    escaped = b"".join(b"\\x%02x" % byte for byte in array.tobytes())
    parts = [
        b"(dp0\nS'w'\np1\ncnumpy.core.multiarray\n_reconstruct\np2\n(cnumpy\nndarray\np3\n(I0\ntp4\nS'b'\np5\ntp6\nRp7\n"
    ]
    parts += [
        b"(I1\n(I3\ntp8\ncnumpy\ndtype\np9\n(S'f4'\np10\nI0\nI1\ntp11\nRp12\n(I3\nS'<'\np13\nNNNI-1\nI-1\nI0\ntp14\n"
    ]
    (tmp_path / "old.pkl").write_bytes(b"".join(parts) + b"bI00\nS'" + escaped + b"'\np15\ntp16\nbs.")
    np.testing.assert_array_equal(read_numpy_pickle(tmp_path / "old.pkl")["w"], array)


def _safetensors_by_hand(tensors: dict[str, np.ndarray]) -> bytes:
    header, numbers = {}, b""
    for name, array in tensors.items():
        raw = array.tobytes()
        header[name] = {
            "dtype": "F32",
            "shape": list(array.shape),
            "data_offsets": [len(numbers), len(numbers) + len(raw)],
        }
        numbers += raw
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + numbers


def test_safetensors_against_bytes_by_hand(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6, dtype="f4").reshape(2, 3), "a": np.float32([7]), "empty": np.zeros((0, 4), "f4")}
    file = tmp_path / "x.safetensors"
    file.write_bytes(_safetensors_by_hand(arrays))
    tensors, _ = read_safetensors(file)
    assert {name: value.tolist() for name, value in tensors.items()} == {n: a.tolist() for n, a in arrays.items()}
    write_safetensors(file, tensors, {"step": "3"})
    again, metadata = read_safetensors(file)
    assert metadata == {"step": "3"}
    assert all(torch.equal(again[name], value) for name, value in tensors.items())


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.bool])
def test_safetensors_keeps_types(tmp_path: Path, dtype: torch.dtype) -> None:
    value = torch.tensor([[0, 1], [1, 0]]).to(dtype)
    write_safetensors(tmp_path / "x.safetensors", {"scalar": value[0, 0], "transposed": value.mT})
    again, _ = read_safetensors(tmp_path / "x.safetensors")
    assert again["scalar"].shape == ()
    assert again["scalar"].dtype == dtype
    assert torch.equal(again["transposed"], value.mT)


def test_checkpoint_of_detectron_pytorch_goes_on(tmp_path: Path) -> None:
    model = small_model()
    names = as_detectron_pytorch(model)
    frozen = ("Conv_Body.conv_body.res1.", "Conv_Body.conv_body.res2.")
    trained = [n for n in names if not n.startswith(frozen) and ".bn" not in n and ".downsample.1." not in n]
    weights, biases = [n for n in trained if "bias" not in n], [n for n in trained if "bias" in n]
    order = [*weights, *biases]
    state = {index: {"momentum_buffer": torch.full_like(names[name], index)} for index, name in enumerate(order)}
    groups = [{"params": list(range(len(weights)))}, {"params": list(range(len(weights), len(order)))}, {"params": []}]
    content = {
        "step": 41,
        "train_size": 1000,
        "batch_size": 2,
        "model": OrderedDict((f"module.{name}", value) for name, value in names.items()),
        "optimizer": {"state": state, "param_groups": groups},
    }
    file = tmp_path / "model_step41.pth"
    torch.save(content, file)
    checkpoint = load_checkpoint(file)
    assert (checkpoint.step, checkpoint.images, checkpoint.origin.program) == (
        42,
        84,
        "detectron.pytorch",
    )  # steps 0 to 41
    load_weights(small_model(), checkpoint, source=file)
    wanted = {name for name, p in model.named_parameters() if p.requires_grad}
    assert set(checkpoint.origin.momentum) == wanted
    renaming = DETECTRON_PYTORCH.renaming(our_layout(model.state_dict()))
    for name, value in checkpoint.origin.momentum.items():
        assert (value == order.index(renaming.to_theirs(name)[0])).all()


def test_momentum_of_blobs_holds_the_rate(tmp_path: Path) -> None:
    blobs = as_detectron(small_model())
    blobs["fc6_w_momentum"], blobs["fc6_b_momentum"] = (
        np.full_like(blobs["fc6_w"], 0.2),
        np.full_like(blobs["fc6_b"], 0.2),
    )
    blobs["lr"] = np.float32([0.1])
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps({"blobs": blobs}, 2))
    momentum = load_checkpoint(file).origin.momentum
    assert {name: value.flatten()[0].item() for name, value in momentum.items()} == {
        "roi_heads.box_head.fc1.layers.0.0.weight": pytest.approx(2.0),
        "roi_heads.box_head.fc1.layers.0.0.bias": pytest.approx(1.0),
    }


def test_other_classes_start_anew(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps(as_detectron(small_model()), 2))
    fresh, unused = load_fitting_weights(small_model(num_classes=9), load_checkpoint(file), source=file)
    assert set(fresh) == {"roi_heads.box_predictor", "roi_heads.mask_branch.head.predictor"}
    assert unused == []


@pytest.mark.parametrize("kind", ["timm", "safetensors"])
def test_backbones_with_torchvisions_names(tmp_path: Path, kind: str) -> None:
    reference = torchvision.models.resnet18(weights=None).state_dict()
    file = tmp_path / "backbone"
    if kind == "safetensors":
        write_safetensors(file, reference)
    else:
        torch.save({"state_dict": reference}, file)
    settings = BlockSettings(norm=lambda channels, ends_branch: FrozenBatchNorm2d(channels))
    backbone = ResNet(depth=18, settings=settings)
    load_backbone_weights(backbone, file)
    assert torch.equal(backbone.layer4[1].conv2.weight, reference["layer4.1.conv2.weight"])
    assert (expected_pixels(file).pixel_format, expected_pixels(file).stds[0]) == ("RGB", 58.395)


def _blobs_of(backbone: ResNet, *, is_group_norm: bool) -> dict[str, np.ndarray]:
    state = {f"backbone.{name}": value for name, value in backbone.state_dict().items()}
    kept = {name: value for name, value in state.items() if "running" not in name}
    names = DETECTRON.renaming(our_layout(kept if is_group_norm else state))
    return {names.to_theirs(name)[0]: value.numpy() for name, value in kept.items()}


@pytest.mark.parametrize("is_whole", [False, True])
def test_backbones_of_detectron(tmp_path: Path, is_whole: bool) -> None:
    reference = small_backbone()
    blobs = _blobs_of(reference, is_group_norm=False)
    if is_whole:
        blobs |= {"cls_score_w": np.zeros((3, 8), "f4"), "fpn_res5_2_sum_w": np.zeros((8, 8, 3, 3), "f4")}
    else:
        blobs["fc1000_w"] = np.zeros((10, 8), "f4")
    file = tmp_path / "R-50.pkl"
    file.write_bytes(pickle.dumps(blobs, 2))
    backbone = small_backbone()
    torch.nn.init.zeros_(backbone.layer4[2].conv3.weight)
    load_backbone_weights(backbone, file)
    assert torch.equal(backbone.layer4[2].conv3.weight, reference.layer4[2].conv3.weight)
    assert (expected_pixels(file).pixel_format, expected_pixels(file).stds[0]) == ("BGR", 1.0)


def test_normalisations_are_not_mixed_up(tmp_path: Path) -> None:
    blobs = _blobs_of(small_backbone(), is_group_norm=True)
    assert "res2_0_branch2a_gn_s" in blobs
    file = tmp_path / "R-50-GN.pkl"
    file.write_bytes(pickle.dumps(blobs, 2))
    with pytest.raises(UserError, match="belong to one with GroupNorm: set RESNETS.USE_GN True"):
        load_backbone_weights(small_backbone(), file)
    assert expected_pixels(file).stds[0] == 57.375


def test_a_dict_of_other_things_is_named(tmp_path: Path) -> None:
    file = tmp_path / "a.pkl"
    file.write_bytes(pickle.dumps({"weights": [1, 2, 3]}, 2))
    with pytest.raises(UserError, match="holds no tensors by name"):
        read_weight_file(file)


def test_a_detector_of_torchvision_becomes_one_with_fpt(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = torchvision.models.detection.fasterrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    file = tmp_path / "a.pth"
    torch.save(theirs.state_dict(), file)
    options = ["MODEL.CONV_BODY", "FPN.ResNet50_conv5_body_fpt", "RESNETS.STRIDE_1X1", "False"]
    model = build_model(load_cfg(None, options), num_classes=4)
    checkpoint = load_checkpoint(file)
    fresh, unused = load_fitting_weights(model, checkpoint, source=file)
    assert (fresh, unused) == (["neck.transformer"], [])
    assert checkpoint.origin.conventions == "torchvision"
    assert torch.equal(model.neck.pyramid.laterals[3].conv.weight, theirs.backbone.fpn.inner_blocks[3][0].weight)
