"""The training step: fetch, forward, check, backward, update. What surrounds it is called by name."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from fpt.engine.state import RunningStatistics, TrainState
from fpt.engine.zero_losses import ZeroLosses
from fpt.layers.norm import frozen_batch_norms
from fpt.utils.distributed import gather_everywhere, mean_over_processes, rank
from fpt.utils.seeding import seed_everything
from fpt.utils.timer import Stopwatch

if TYPE_CHECKING:
    from fpt.dataloaders.collate import Batch

_LOGGER = logging.getLogger("fpt")


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """Numbers of a step.

    Attributes:
        device: where the model lies.
        images_per_step: images that a step consumes, over all devices.
        iter_size: batches in one update; their gradients are averaged.
        clip_norm: gradients are scaled down to this norm; 0 = off.
        amp_dtype: type of autocast, None = off.
        max_skipped: so many skipped steps in a row end the training.
        seed: each step of each process seeds its generators by this and its number, so that a resumed training needs
            none of the steps before.
    """

    device: torch.device
    images_per_step: int = 1
    iter_size: int = 1
    clip_norm: float = 0.0
    amp_dtype: torch.dtype | None = None
    max_skipped: int = 10
    seed: int = 0


class NonFiniteLossError(ArithmeticError):
    """A loss or a gradient is NaN or infinite. All processes raise it together.

    Args:
        reason: which one, and its value.
        image_ids: the images that it comes from.
        has_finite_loss: whether the gradient alone is wrong.
    """

    def __init__(self, reason: str, *, image_ids: Sequence[int], has_finite_loss: bool = False) -> None:
        super().__init__(f"{reason} on the images with image ids {list(image_ids)}")
        self.reason = reason
        self.image_ids = list(image_ids)
        self.has_finite_loss = has_finite_loss


SkipWriter = Callable[[int, NonFiniteLossError], None]


@dataclass(kw_only=True)
class TrainingStep:
    """One step of a training, to be called again and again.

    Attributes:
        model: `state.model` on the device, as ``fpt.parallel`` wraps it for several.
        state: changed in place.
        batches: never ends before the training does.
        settings: numbers of the step.
        on_skip: gets the number of a skipped step and what was not finite.
        statistics: running statistics of BatchNorm, given back when a step is skipped or fails.
        watch: measures how long the step waits for data.
        zero_losses: warns of losses that teach nothing.
    """

    model: nn.Module
    state: TrainState
    batches: Iterator[Batch]
    settings: StepSettings
    on_skip: SkipWriter = lambda step, error: None
    statistics: RunningStatistics = field(init=False)
    watch: Stopwatch = field(init=False, default_factory=Stopwatch)
    zero_losses: ZeroLosses = field(init=False, default_factory=ZeroLosses)

    def __post_init__(self) -> None:
        self.statistics = RunningStatistics(self.state.model)
        self.frozen_norms = frozen_batch_norms(self.state.model)

    def __call__(self) -> None:
        """Update the weights by the next batches, or skip the step where a loss or gradient is not finite.

        An error takes the step back, if its update has not begun.

        Raises:
            NonFiniteLossError: `max_skipped` steps in a row were skipped.
        """
        state, settings, started = self.state, self.settings, time.perf_counter()
        self._begin()
        batches, image_ids, norm = self._fetch(), [], None
        with self.statistics.restored_after_errors():
            try:
                for number, batch in enumerate(batches, start=1):  # fetch
                    image_ids += batch.image_ids
                    with _exchange_gradients(self.model, is_last=number == settings.iter_size):
                        losses = forward(self.model, batch, settings)
                        values = check_losses(losses, image_ids=batch.image_ids)
                        backward(losses, share=1.0 / settings.iter_size, scaler=state.scaler)
                    state.window.add_batch(values)
                    self.zero_losses.note(values)
                norm = clip_gradients(state, clip_norm=settings.clip_norm, image_ids=image_ids)
                update_weights(state)
                state.skipped_in_row = 0
            except NonFiniteLossError as error:
                for _ in batches:  # the position in the data stays that of a whole step
                    continue
                self._skip(error)
        state.step += 1
        state.images += settings.images_per_step
        seconds = time.perf_counter() - started
        state.window.add_step(seconds=seconds, data_seconds=self.watch.take("data"), gradient_norm=norm)

    def _begin(self) -> None:
        """Training mode, no gradients, statistics noted, generators seeded by the number of the step."""
        self.model.train()
        for norm in self.frozen_norms:
            norm.eval()  # its statistics rest, too
        self.state.optimizer.zero_grad(set_to_none=True)
        self.statistics.note()
        seed_everything(self.settings.seed, process=rank(), step=self.state.step + 1)

    def _fetch(self) -> Iterator[Batch]:
        """The batches of the step, on the device."""
        for _ in range(self.settings.iter_size):
            with self.watch.measure("data"):
                batch = next(self.batches)
            yield batch.to(self.settings.device)

    def _skip(self, error: NonFiniteLossError) -> None:
        """Leave the weights as they are, and report it; an overflow in float16 lowers the scale of the loss instead."""
        state = self.state
        state.window.drop_batches()
        state.optimizer.zero_grad(set_to_none=True)
        self.statistics.restore()
        if state.scaler is not None and error.has_finite_loss and _lower_scale(state.scaler):
            return
        if state.skipped_in_row + 1 >= self.settings.max_skipped:
            raise NonFiniteLossError(
                f"{state.skipped_in_row + 1} steps in a row had no finite loss or gradient and were left out; "
                f"the last: {error.reason}",
                image_ids=error.image_ids,
                has_finite_loss=error.has_finite_loss,
            )
        state.skipped += 1
        state.skipped_in_row += 1
        _LOGGER.warning("step %d is left out: %s", state.step + 1, error)
        self.on_skip(state.step + 1, error)


def forward(model: nn.Module, batch: Batch, settings: StepSettings) -> dict[str, Tensor]:
    """The scalar, already weighted losses of one batch, under autocast where `settings` ask for it."""
    dtype = settings.amp_dtype
    with torch.autocast(settings.device.type, dtype=dtype, enabled=dtype is not None):
        losses: dict[str, Tensor] = model(batch.images, batch.targets)
    return losses


def check_losses(losses: Mapping[str, Tensor], *, image_ids: Sequence[int]) -> dict[str, float]:
    """The losses, and their sum as `loss`: means over the processes.

    Args:
        losses: scalars.
        image_ids: of the batch on this process.

    Raises:
        NonFiniteLossError: one is NaN or infinite, on any process.
    """
    total = _total(losses)
    values = to_floats({**losses, "loss": total})
    wrong = {name: value for name, value in values.items() if not math.isfinite(value)}
    if wrong:
        listing = ", ".join(f"{name} = {value}" for name, value in wrong.items())
        is_wrong_here = not torch.isfinite(total).item()
        suspects = sum(gather_everywhere(list(image_ids) if is_wrong_here else []), [])
        raise NonFiniteLossError(listing, image_ids=suspects)
    return values


def backward(losses: Mapping[str, Tensor], *, share: float, scaler: torch.amp.GradScaler | None) -> None:
    """Add the gradients of the summed losses, times `share`, to those of the parameters.

    Args:
        losses: scalars.
        share: 1 / number of batches in the update, so that the gradient is their mean.
        scaler: multiplies the loss, so that gradients in float16 do not vanish.
    """
    total = _total(losses) * share
    (total if scaler is None else scaler.scale(total)).backward()


def clip_gradients(state: TrainState, *, clip_norm: float, image_ids: Sequence[int]) -> float:
    """Scale the gradients of the optimizer's parameters down to `clip_norm` (0 = off).

    Args:
        state: whose scaler, if any, has scaled the gradients; they are true to scale afterwards.
        clip_norm: largest norm of all gradients together.
        image_ids: of the step's images on this process.

    Returns:
        The norm before.

    Raises:
        NonFiniteLossError: the norm is not finite.
    """
    if state.scaler is not None:
        state.scaler.unscale_(state.optimizer)
    parameters = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    norm = float(torch.nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm > 0 else math.inf))
    if not math.isfinite(norm):
        everybody = sum(gather_everywhere(list(image_ids)), [])
        raise NonFiniteLossError(f"norm of the gradients = {norm}", image_ids=everybody, has_finite_loss=True)
    return norm


def update_weights(state: TrainState) -> None:
    """Change the weights, and their average, by the gradients."""
    with state.changing():
        if state.scaler is None:
            state.optimizer.step()
        else:
            state.scaler.step(state.optimizer)
            state.scaler.update()
        if state.average is not None:
            state.average.update(state.step - state.skipped)


def to_floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars of the device as Python numbers, means over the processes, in one transfer."""
    numbers = mean_over_processes(torch.stack([value.detach().float() for value in values.values()])).tolist()
    return dict(zip(values, numbers, strict=True))


def _total(losses: Mapping[str, Tensor]) -> Tensor:
    return torch.stack([loss.float() for loss in losses.values()]).sum()


def _lower_scale(scaler: torch.amp.GradScaler) -> bool:
    """Halve the factor of the gradients, if that may be what made them infinite; ends the scaler's step either way."""
    scale = scaler.get_scale()
    if scale <= 1:
        scaler.update(scale)
        return False
    scaler.update(scale / 2)
    _LOGGER.info("gradients overflow in float16: their factor goes from %g to %g", scale, scale / 2)
    return True


def _exchange_gradients(model: nn.Module, *, is_last: bool) -> AbstractContextManager[object]:
    """Context of a batch: processes exchange the gradients of an update once, with those of its last batch."""
    return model.no_sync() if isinstance(model, DistributedDataParallel) and not is_last else nullcontext()
