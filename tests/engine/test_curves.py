"""One interface for TensorBoard, Weights & Biases and MLflow; the latter two against modules that note their calls."""

from __future__ import annotations

import errno
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import cv2
import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from fpt.engine.curves import CurveWriters, MlflowWriter, TensorboardWriter, WandbWriter
from fpt.utils.errors import UserError

RECORD = {"step": 20, "lr": 0.01, "loss": 1.5}
IMAGE = np.zeros((2, 3, 3), np.uint8)
IMAGE[..., 0] = 255  # red


class Notes:
    """Calls of a module's functions, by name."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def function(self, name: str, result: Any = None) -> Any:
        def call(*args: Any, **more: Any) -> Any:
            self.calls.append((name, args, more))
            return result

        return call

    def of(self, name: str) -> list[tuple[tuple[Any, ...], dict[str, Any]]]:
        return [(args, more) for called, args, more in self.calls if called == name]


@pytest.fixture
def notes() -> Notes:
    return Notes()


@pytest.fixture
def wandb(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> Notes:
    run = SimpleNamespace(log=notes.function("log"), finish=notes.function("finish"))
    module = SimpleNamespace(init=notes.function("init", run), Image=lambda array: ("image", array))
    monkeypatch.setitem(sys.modules, "wandb", module)
    return notes


@pytest.fixture
def mlflow(notes: Notes, monkeypatch: pytest.MonkeyPatch) -> Notes:
    names = ("set_tracking_uri", "get_experiment_by_name", "create_experiment", "set_experiment")
    names += ("log_dict", "log_metrics", "log_image", "end_run")
    functions = {name: notes.function(name) for name in names}
    run = SimpleNamespace(info=SimpleNamespace(run_id="r1"))
    functions |= {"is_tracking_uri_set": lambda: False, "start_run": notes.function("start_run", run)}
    monkeypatch.setitem(sys.modules, "mlflow", SimpleNamespace(**functions))
    return notes


def events_in(folder: Path) -> list[Any]:
    """Every event of the files for TensorBoard, the oldest file first."""
    files = sorted((folder / "tensorboard").glob("events*"), key=lambda path: int(path.suffix[1:]))
    events = []
    for file in files:
        content = file.read_bytes()
        while content:
            length = int.from_bytes(content[:8], "little")
            events.append(Event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return events


def values_in(folder: Path) -> list[tuple[int, str, float]]:
    return [
        (event.step, value.tag, round(value.simple_value, 6))
        for event in events_in(folder)
        for value in event.summary.value
        if value.HasField("simple_value")
    ]


def test_tensorboard_gets_values_and_images_at_once(tmp_path: Path) -> None:
    writer = TensorboardWriter(tmp_path)
    writer(RECORD)
    assert values_in(tmp_path) == [(20, "lr", 0.01), (20, "loss", 1.5)]
    writer.add_images(20, {"a": IMAGE})
    last = events_in(tmp_path)[-1]
    assert last.summary.value[0].tag == "images/a"
    shown = cv2.imdecode(np.frombuffer(last.summary.value[0].image.encoded_image_string, np.uint8), cv2.IMREAD_COLOR)
    assert np.array_equal(shown[..., ::-1], IMAGE)  # OpenCV's order is BGR
    writer.close()


def test_tensorboard_of_a_resumed_run_hides_only_later_steps(tmp_path: Path) -> None:
    writer = TensorboardWriter(tmp_path, start_step=10)
    writer.close()
    assert not (tmp_path / "tensorboard").exists()
    writer({"step": 20, "loss": 0.5})
    version, start, _ = events_in(tmp_path)
    assert version.file_version == "brain.Event:2"
    assert (start.step, start.session_log.status) == (11, SessionLog.START)


def test_tensorboard_starts_a_new_file_after_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    writer = TensorboardWriter(tmp_path)
    writer({"step": 10, "loss": 0.7})
    with monkeypatch.context() as patch:
        patch.setattr("tensorboardX.event_file_writer.EventsWriter.write_event", full_disk)
        for _ in range(30):
            with pytest.raises(OSError, match="No space left"):
                writer(RECORD)
    writer({"step": 40, "loss": 0.5})
    assert values_in(tmp_path) == [(10, "loss", 0.7), (40, "loss", 0.5)]
    assert len(list((tmp_path / "tensorboard").iterdir())) == 2


def test_wandb_gets_values_and_images_and_goes_on_in_the_same_run(tmp_path: Path, wandb: Notes) -> None:
    writer = WandbWriter(tmp_path, config={"SEED": 3})
    writer(RECORD)
    writer.add_images(20, {"a": IMAGE})
    writer.close()
    WandbWriter(tmp_path, config={}, start_step=20)
    WandbWriter(tmp_path, config={})
    ids = [more["id"] for _, more in wandb.of("init")]
    assert ids[0] == ids[1] != ids[2]
    assert wandb.of("init")[0][1]["config"] == {"SEED": 3}
    values, images = wandb.of("log")
    assert values == (({"lr": 0.01, "loss": 1.5},), {"step": 20})
    (kind, array) = images[0][0]["images/a"]
    assert kind == "image"
    assert array[0, 0].tolist() == [255, 0, 0]  # RGB
    assert len(wandb.of("finish")) == 1


def test_mlflow_gets_values_and_images_and_goes_on_in_the_same_run(tmp_path: Path, mlflow: Notes) -> None:
    writer = MlflowWriter(tmp_path / "run", config={"SEED": 3})
    writer(RECORD)
    writer.add_images(20, {"a": IMAGE})
    writer.close()
    MlflowWriter(tmp_path / "run", config={}, start_step=20)
    assert [more for _, more in mlflow.of("start_run")] == [{"run_name": "run"}, {"run_id": "r1"}]
    assert mlflow.of("set_tracking_uri")[0][0] == (f"sqlite:///{tmp_path.resolve()}/mlflow.db",)
    assert mlflow.of("create_experiment")[0] == (("fpt",), {"artifact_location": (tmp_path / "mlflow").as_uri()})
    assert mlflow.of("log_metrics") == [(({"lr": 0.01, "loss": 1.5},), {"step": 20})]
    ((array,), more) = mlflow.of("log_image")[0]
    assert (array[0, 0].tolist(), more) == ([255, 0, 0], {"artifact_file": "images/a_20.png"})
    assert mlflow.of("log_dict") == [(({"SEED": 3}, "config.yaml"), {})]
    assert len(mlflow.of("end_run")) == 1


@pytest.mark.parametrize(("kind", "name"), [(WandbWriter, "wandb"), (MlflowWriter, "mlflow")])
def test_package_that_is_absent_is_named(kind: Any, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UserError, match=f"--use_{name} needs the package {name}: pip install"):
        kind(tmp_path, config={})


def test_several_writers_are_one() -> None:
    notes = Notes()
    parts = [SimpleNamespace(add_images=notes.function("images"), close=notes.function("close")) for _ in "ab"]
    both = CurveWriters(parts)
    both.add_images(3, {"a": IMAGE})
    both.close()
    assert [name for name, _, _ in notes.calls] == ["images", "images", "close", "close"]
    CurveWriters([])(RECORD)


def test_one_that_fails_is_reported_once_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    class Server:
        is_away = True

        def __call__(self, record: Any) -> None:
            if self.is_away:
                raise ConnectionError("no answer")

    notes, server = Notes(), Server()
    both = CurveWriters([server, notes.function("record")])
    for is_away in (True, True, False, True):
        server.is_away = is_away
        both(RECORD)
    assert len(notes.calls) == 4
    assert caplog.text.count("Server fails, so its curves have gaps: no answer") == 2
