"""One update of the weights."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from fpt.utils.distributed import gather_everywhere, mean_over_processes

if TYPE_CHECKING:
    from fpt.dataloaders.collate import Batch
    from fpt.engine.state import TrainState


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


def backward_batch(
    model: nn.Module,
    batch: Batch,
    *,
    amp_dtype: torch.dtype | None,
    device: torch.device,
    share: float = 1.0,
    scaler: torch.amp.GradScaler | None = None,
) -> dict[str, float]:
    """Add the gradients of one batch, times `share`, to those of the parameters.

    Args:
        model: returns a dict of scalar, already weighted losses for (images, targets).
        batch: lies on `device`.
        amp_dtype: type of autocast, None = off.
        device: where the model lies.
        share: 1 / number of batches in the update, so that the gradient is their mean.
        scaler: multiplies the loss, so that gradients in float16 don't vanish.

    Returns:
        The losses, and their sum as `loss`: means over the processes.

    Raises:
        NonFiniteLossError: before any gradient of the batch is added.
    """
    with torch.autocast(device.type, dtype=amp_dtype, enabled=amp_dtype is not None):
        losses: dict[str, Tensor] = model(batch.images, batch.targets)
    total = torch.stack([loss.float() for loss in losses.values()]).sum()
    values = to_floats({**losses, "loss": total})
    wrong = {name: value for name, value in values.items() if value - value != 0}
    if wrong:
        listing = ", ".join(f"{name} = {value}" for name, value in wrong.items())
        is_guilty = not torch.isfinite(total).item()
        suspects = sum(gather_everywhere(list(batch.image_ids) if is_guilty else []), [])
        raise NonFiniteLossError(listing, image_ids=suspects)
    scaled = total * share
    (scaled if scaler is None else scaler.scale(scaled)).backward()
    return values


def to_floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars of the device as Python numbers, means over the processes, in one transfer."""
    numbers = mean_over_processes(torch.stack([value.detach().float() for value in values.values()])).tolist()
    return dict(zip(values, numbers, strict=True))


def clip_gradients(
    state: TrainState, parameters: Sequence[nn.Parameter], *, clip_norm: float, image_ids: Sequence[int]
) -> float:
    """Scale the gradients down to `clip_norm` (0 = off).

    Args:
        state: whose scaler, if any, has scaled the gradients; they are true to scale afterwards.
        parameters: with gradients.
        clip_norm: largest norm of all gradients together.
        image_ids: of the step's images on this process.

    Returns:
        The norm before.

    Raises:
        NonFiniteLossError: the norm is not finite.
    """
    if state.scaler is not None:
        state.scaler.unscale_(state.optimizer)
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
