"""No program writes over a user's file, wherever its output folder lies: it leaves it as it is, or refuses at once."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from fpt.checkpoint.checkpoint import Checkpoint, save_checkpoint
from fpt.cli import attention, check_data, infer, shapes, test, train
from fpt.core.config import load_cfg
from fpt.modeling.build import build_model

USERS = (
    *("1.json", "2.json", "1_5_6.png", "results.pdf", "log.txt", "metrics.json", "metrics.jsonl", "config.yaml"),
    *("environment.json", "environment_infer.json", "environment_test.json", "run.json", "shapes.json", "bbox.json"),
    *("vis/1.png", "vis/2.png", "eval/tiny_val/bbox.json", "images/step1/1.png", "ckpt/manifest.json", "classes.txt"),
    *(
        "images/train/000000.jpg",
        "1.png",
        "2.png",
        "profile/trace.json",
        "bad_samples.jsonl",
        "eval.jsonl",
        "skipped_steps.jsonl",
    ),
)
"""Files of the user's that have names of ours; each holds its own name."""

TRAIN = ("SOLVER.MAX_ITER", "1", "TRAIN.EVAL_PERIOD", "1", "TRAIN.VIS_PERIOD", "1")
PROGRAMS: dict[str, Callable[..., list[str]]] = {
    "infer": lambda home, out: ["--load_ckpt", home.model, "--image_dir", home.images, "--output_dir", out],
    "infer named": lambda home, out: [
        *("--load_ckpt", home.model, "--images", f"{home.images}/*.png", "--output_dir", out, "--merge_pdfs"),
        *("--output_format", "jpg", "json"),
    ],
    "attention": lambda home, out: [
        *("--load_ckpt", home.model, "--images", home.images / "1.png", "--points", "5,6", "--output_dir", out)
    ],
    "test": lambda home, out: ["--load_ckpt", home.model, "--vis", "--output_dir", out],
    "check": lambda home, out: ["--dataset", "tiny_val", "--draw", out],
    "train": lambda home, out: ["--output_dir", out, "--profile", "--set", *TRAIN],
    "shapes": lambda home, out: ["--output_dir", out, "--num_train", "1", "--num_val", "1", "--size", "48"],
}
MAINS = {
    "infer": infer.main,
    "infer named": infer.main,
    "attention": attention.main,
    "test": test.main,
    "check": check_data.main,
    "train": train.main,
    "shapes": shapes.main,
}
PLACES: dict[str, Callable[[Path], Path]] = {
    "equal": lambda images: images,
    "above": lambda images: images.parent,
    "below": lambda images: images / "deep",
    "linked": lambda images: images.parent.parent / "link",
    "spelled otherwise": lambda images: images / ".." / images.name,
}


class Home:
    """A folder with a data set whose images lie among files of the user's, with a checkpoint beside it."""

    def __init__(self, tiny, model: Path, names: tuple[str, ...] = USERS) -> None:
        self.tiny, self.images, self.model = tiny, tiny.folder / "images", model
        for folder in (self.images, self.images / "deep", tiny.folder):
            for name in names:
                if not (folder / name).exists():
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    (folder / name).write_text(name)
        (tiny.folder.parent / "link").symlink_to(self.images)

    def content(self) -> dict[str, bytes]:
        """What the user's files hold."""
        paths = [path for path in self.tiny.folder.rglob("*") if path.is_file()]
        return {str(path): path.read_bytes() for path in paths}


@pytest.fixture(scope="module")
def model(tiny_factory: Callable, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of an untrained model with a transformer."""
    folder = tmp_path_factory.mktemp("model")
    cfg = load_cfg(with_transformer(tiny_factory(folder)).cfg)
    torch.manual_seed(0)
    weights = build_model(cfg, num_classes=3).state_dict()
    content = Checkpoint(model=weights, classes=["red", "green"], config=cfg.dump(), step=1)
    save_checkpoint(folder / "model.pth", content)
    return folder / "model.pth"


def with_transformer(tiny):
    tiny.cfg.write_text(tiny.cfg.read_text().replace("ResNet18_conv5_body,", "ResNet18_conv5_body_fpt,"))
    return tiny


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("program", PROGRAMS)
def test_the_users_files_stay_as_they_are(
    tiny_factory: Callable,
    tmp_path: Path,
    model: Path,
    program: str,
    place: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    home = Home(with_transformer(tiny_factory(tmp_path / "home")), model)
    monkeypatch.setattr("fpt.run.predictor.Predictor.__call__", lambda *_: pytest.fail("detection has begun"))
    before = home.content()
    more = PROGRAMS[program](home, PLACES[place](home.images))
    arguments = [str(word) for word in more] if program == "shapes" else home.tiny.arguments(*more)
    assert MAINS[program](arguments) == 2
    after = home.content()
    assert {path: after.get(path) for path in before} == before
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "give " in error
    assert {Path(path).name for path in after.keys() - before.keys()} <= {"tiny.json.fptcache", ".lock"}


@pytest.mark.parametrize("program", ["infer", "attention", "test", "check", "train", "shapes"])
def test_a_folder_of_ours_is_written_again(
    tiny_factory: Callable, tmp_path: Path, model: Path, program: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Twice with one folder, and the second time under another spelling."""
    home = Home(with_transformer(tiny_factory(tmp_path / "home")), model, names=())
    before = home.content()
    out = tmp_path / "out"
    (tmp_path / "out_link").symlink_to(out)
    for folder, again in ((out, ()), (tmp_path / "out_link", ("--resume",) if program == "train" else ())):
        more = [*again, *PROGRAMS[program](home, folder)]
        arguments = [str(word) for word in more] if program == "shapes" else home.tiny.arguments(*more)
        assert MAINS[program](arguments) == 0, capsys.readouterr().err
    after = home.content()
    assert {path: after.get(path) for path in before} == before


def test_results_beside_the_images_are_no_images_later(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = tmp_path / "photos"
    images.mkdir()
    for number, suffix in ((1, "bmp"), (2, "jpg")):
        shutil.copy(trained.folder / "images" / f"{number}.png", images / f"photo{number}.{suffix}")
    for more in ((), (), ("--recursive",), ("--output_dir", images / "out"), ("--recursive",)):
        capsys.readouterr()
        arguments = ("--load_ckpt", trained.checkpoint, "--image_dir", images, "--output_dir", images, *more)
        assert infer.main(trained.arguments(*arguments)) == 0
        assert "2 of 2 images done" in capsys.readouterr().out
    drawings = [path.relative_to(images) for path in sorted(images.rglob("*.png"))]
    assert list(map(str, drawings)) == ["out/photo1.png", "out/photo2.png", "photo1.png", "photo2.png"]


def test_a_drawing_that_was_edited_is_an_image_again_and_stays(
    trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(trained.folder / "images" / "1.png", tmp_path / "photo.bmp")
    arguments = trained.arguments(
        "--load_ckpt", trained.checkpoint, "--image_dir", tmp_path, "--output_dir", tmp_path, "--output_format", "png"
    )
    assert infer.main(arguments) == 0
    shutil.copy(trained.folder / "images" / "2.png", tmp_path / "photo.png")
    edited = (tmp_path / "photo.png").read_bytes()
    assert infer.main(arguments) == 0
    assert (tmp_path / "photo.png").read_bytes() == edited
    assert {path.name for path in tmp_path.glob("photo_*")} == {"photo_bmp.png", "photo_png.png"}


@pytest.mark.parametrize("more", [(), ("--resume",)])
def test_the_configuration_of_the_users_stays(trained, tmp_path: Path, more: tuple[str, ...]) -> None:
    """A file called config.yaml, also one of ours that was edited."""
    run = tmp_path / "run"
    config = run / "config.yaml"
    opts = ("--set", "SOLVER.MAX_ITER", "1")
    if more:
        assert train.main(trained.arguments("--output_dir", run, *opts)) == 0
    else:
        run.mkdir()
        shutil.copy(trained.cfg, config)
        config.write_text(config.read_text().replace("images,", f"{trained.folder / 'images'},"))
        config.write_text(config.read_text().replace("tiny.json", str(trained.folder / "tiny.json")))
    config.write_text("# my notes\n" + config.read_text())
    before = config.read_text()
    for _ in range(2):
        assert train.main(["--cfg", str(config), "--output_dir", str(run), *more, *opts]) == 0
        assert config.read_text() == before
        more = ("--resume",)
    assert load_cfg(run / "config_resolved.yaml").SOLVER.MAX_ITER == 1


def test_the_resolved_configuration_goes_on_by_itself(trained, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert train.main(trained.arguments("--output_dir", run, "--set", "SOLVER.MAX_ITER", "1")) == 0
    arguments = ["--cfg", str(run / "config.yaml"), "--output_dir", str(run), "--resume", "--set", "SOLVER.MAX_ITER"]
    assert train.main([*arguments, "2"]) == 0
    assert load_cfg(run / "config.yaml").SOLVER.MAX_ITER == 2
    assert not (run / "config_resolved.yaml").exists()


def test_a_folder_with_a_broken_record_is_refused(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("--load_ckpt", trained.checkpoint, "--image_dir", trained.folder / "images", "--output_dir", tmp_path)
    assert infer.main(trained.arguments(*arguments)) == 0
    (tmp_path / ".fpt_files.jsonl").write_text("{")
    assert infer.main(trained.arguments(*arguments)) == 2
    assert "was not written by this program, or changed since; give another --output_dir" in capsys.readouterr().err


@pytest.mark.usefixtures("no_superuser")
def test_a_folder_that_is_read_only(trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tmp_path.chmod(0o555)
    arguments = ("--load_ckpt", trained.checkpoint, "--image_dir", trained.folder / "images", "--output_dir", tmp_path)
    assert infer.main(trained.arguments(*arguments)) == 2
    assert f"output folder {tmp_path} cannot be written: Permission denied" in capsys.readouterr().err


def test_an_image_is_not_drawn_over_from_python(trained, tmp_path: Path) -> None:
    from fpt.run.predictor import Predictor
    from fpt.utils.errors import UserError

    image = tmp_path / "photo.png"
    shutil.copy(trained.folder / "images" / "1.png", image)
    found = Predictor(trained.checkpoint, device="cpu")(image)
    before = image.read_bytes()
    with pytest.raises(UserError, match="photo.png is the image that was detected in; give another name"):
        found.save(image)
    assert image.read_bytes() == before
    found.save(tmp_path / "photo.json")
    assert json.loads((tmp_path / "photo.json").read_text())["file"] == str(image)
