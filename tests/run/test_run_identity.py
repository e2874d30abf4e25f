"""A run goes on with its own yaml file and data alone, wherever they lie by then."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fpt.cli import train as command
from fpt.core.config import load_cfg
from fpt.run.options import RunOptions
from fpt.run.run_identity import identity_of, read_identity, why_another
from fpt.run.train import train
from fpt.utils.errors import UserError


class Experiment:
    """A folder with ``config.yaml`` and data of its own; its runs lie in ``Outputs`` above."""

    def __init__(self, tiny) -> None:
        self.folder = tiny.folder
        self.cfg = tiny.cfg.rename(tiny.folder / "config.yaml")
        self.root = tiny.folder.parent / "Outputs"

    def train(self, *, steps: int, name: str = "config", **options: object):
        cfg = load_cfg(self.cfg, ["OUTPUT_DIR", str(self.root), "SOLVER.MAX_ITER", str(steps)])
        return train(cfg, RunOptions(name=name, **options))

    def relabel(self) -> None:
        content = json.loads((self.folder / "tiny.json").read_text())
        content["annotations"].pop()
        (self.folder / "tiny.json").write_text(json.dumps(content))


@pytest.fixture
def one(tmp_path: Path, tiny_factory: Callable) -> Experiment:
    """An experiment with a run of one step."""
    experiment = Experiment(tiny_factory(tmp_path / "one"))
    experiment.train(steps=1)
    return experiment


@pytest.fixture
def two(tmp_path: Path, tiny_factory: Callable) -> Experiment:
    """An experiment of the same name, with other data and without a run."""
    experiment = Experiment(tiny_factory(tmp_path / "two"))
    experiment.relabel()
    return experiment


def test_the_run_of_another_yaml_file_of_the_same_name_is_refused(one: Experiment, two: Experiment) -> None:
    (run,) = (one.root / "config").iterdir()
    before = sorted((run / "ckpt").iterdir())
    with pytest.raises(UserError) as error:
        two.train(steps=2, resume="yes")
    for text in (str(one.cfg), str(two.cfg), f"--output_dir {run} --resume", "--load_ckpt FILE --resume"):
        assert text in str(error.value)
    assert sorted((run / "ckpt").iterdir()) == before
    assert list((one.root / "config").iterdir()) == [run]


def test_a_copy_of_the_yaml_file_beside_other_data_is_refused(one: Experiment, two: Experiment) -> None:
    assert one.cfg.read_text() == two.cfg.read_text()
    with pytest.raises(UserError, match="tiny_train"):
        two.train(steps=2, resume="yes")


def test_each_goes_on_with_its_own_newest_run(one: Experiment, two: Experiment) -> None:
    first = two.train(steps=1)
    assert one.train(steps=2, resume="yes").output_dir != first.output_dir
    assert two.train(steps=2, resume="yes").output_dir == first.output_dir


def test_an_edited_yaml_file_moved_data_and_a_moved_experiment_go_on(one: Experiment) -> None:
    (run,) = (one.root / "config").iterdir()
    one.cfg.write_text(one.cfg.read_text().replace("BASE_LR: 0.001", "BASE_LR: 0.002"))
    assert one.train(steps=2, resume="yes").output_dir == run
    one.folder.rename(one.folder.parent / "moved")
    one.folder = one.folder.parent / "moved"
    one.cfg = one.folder / "config.yaml"
    assert one.train(steps=3, resume="yes").output_dir == run
    assert len(json.loads((run / "run.json").read_text())["configurations"]) == 3


def test_changed_labels_in_the_same_file_are_a_warning(one: Experiment, caplog: pytest.LogCaptureFixture) -> None:
    one.relabel()
    assert one.train(steps=2, resume="yes").step == 2
    assert "data set tiny_train" in caplog.text
    assert "has changed since the run in" in caplog.text


def test_a_named_run_goes_on_with_other_data_and_says_so(
    one: Experiment, two: Experiment, caplog: pytest.LogCaptureFixture
) -> None:
    (run,) = (one.root / "config").iterdir()
    assert two.train(steps=2, resume="yes", output_dir=run).step == 2
    assert f"{run} was trained on tiny_train ({one.folder / 'tiny.json'}), and goes on with tiny_train" in caplog.text
    assert two.train(steps=3, resume="yes").output_dir == run


def test_a_checkpoint_that_is_named_goes_on_in_its_run(one: Experiment, two: Experiment) -> None:
    (run,) = (one.root / "config").iterdir()
    checkpoint = run / "ckpt" / "model_step1.pth"
    assert two.train(steps=2, resume="yes", load_ckpt=checkpoint).output_dir == run


def test_a_run_of_an_earlier_version_is_known_by_its_data(one: Experiment, two: Experiment) -> None:
    (run,) = (one.root / "config").iterdir()
    for path in (run / "run.json", *run.glob(".fpt*")):
        path.unlink()
    assert why_another(identity_of(load_cfg(two.cfg)), run)
    assert one.train(steps=2, resume="yes").output_dir == run
    assert read_identity(run).configurations


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"configurations": [{}], "datasets": []}'])
def test_a_broken_description_falls_back_on_the_data(one: Experiment, content: str) -> None:
    (run,) = (one.root / "config").iterdir()
    (run / "run.json").write_text(content)
    assert [item.name for item in read_identity(run).datasets] == ["tiny_train"]
    (run / "config.yaml").unlink()
    assert "does not tell what it is of" in why_another(identity_of(load_cfg(one.cfg)), run)


def test_a_moved_run_folder_goes_on_and_moved_data_are_named(one: Experiment, capsys: pytest.CaptureFixture) -> None:
    (run,) = (one.root / "config").iterdir()
    moved = shutil.move(run, one.root / "elsewhere")
    arguments = ["--cfg", f"{moved}/config.yaml", "--output_dir", str(moved), "--resume", "--set", "SOLVER.MAX_ITER"]
    assert command.main([*arguments, "2"]) == 0
    data = one.folder.rename(one.folder.parent / "moved")
    capsys.readouterr()
    assert command.main([*arguments, "3"]) == 2
    error = capsys.readouterr().err
    assert "set DATA_DIR" not in error
    advised = "--set DATASETS.tiny_train.ANN_FILE PATH DATASETS.tiny_train.IMAGE_DIR PATH, or the yaml file that"
    assert advised in error
    paths = ("DATASETS.tiny_train.ANN_FILE", data / "tiny.json", "DATASETS.tiny_train.IMAGE_DIR", data / "images")
    assert command.main([*arguments, "3", *map(str, paths)]) == 0
    assert command.main(["--cfg", str(data / "config.yaml"), *arguments[2:], "4"]) == 0


HOLD = """
import sys
from pathlib import Path
from fpt.utils.folder_lock import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.mark.parametrize("resume", ["no", "yes"])
def test_a_second_training_in_the_folder_is_refused(one: Experiment, tmp_path: Path, resume: str) -> None:
    run = next((one.root / "config").iterdir()) if resume == "yes" else tmp_path / "new"
    arguments = [sys.executable, "-c", HOLD, str(run)]
    with subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout.readline() == "locked\n"
        leftover = run / "ckpt" / f".model_step2.pth.{other.pid}.tmp"
        leftover.parent.mkdir(exist_ok=True)
        leftover.touch()
        with pytest.raises(UserError, match="is the folder of a training that is running"):
            one.train(steps=2, resume=resume, output_dir=run)
        assert leftover.exists()
        other.kill()
    assert one.train(steps=2, resume=resume, output_dir=run).step == 2
    assert not leftover.exists()


def test_runs_that_begin_in_the_same_second_have_folders_of_their_own(one: Experiment) -> None:
    from fpt.run.folder import new_run_folder

    folders = {new_run_folder(one.root, "many") for _ in range(3)}
    assert len(folders) == 3
