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


class NonFiniteLossError(ArithmeticError):
    """A loss is NaN or infinite; the message names the losses and the pictures of the batch.

    All processes raise it together.
    """


def backward_batch(
    model: nn.Module, batch: Batch, *, amp_dtype: torch.dtype | None, device: torch.device, share: float = 1.0
) -> dict[str, float]:
    """Add the gradients of one batch, times `share`, to those of the parameters.

    Args:
        model: returns a dict of scalar, already weighted losses for (images, targets).
        batch: lies on `device`.
        amp_dtype: type of autocast, None = off.
        device: where the model lies.
        share: 1 / number of batches in the update, so that the gradient is their mean.

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
        raise NonFiniteLossError(
            f"{listing} on the pictures with image ids {suspects}; the weights were not changed by this "
            "batch. Lower SOLVER.BASE_LR (--lr), lengthen SOLVER.WARM_UP_ITERS or set SOLVER.CLIP_GRAD_NORM"
        )
    (total * share).backward()
    return values


def to_floats(values: Mapping[str, Tensor]) -> dict[str, float]:
    """Scalars of the device as Python numbers, means over the processes, in one transfer."""
    numbers = mean_over_processes(torch.stack([value.detach().float() for value in values.values()])).tolist()
    return dict(zip(values, numbers, strict=True))


def apply_gradients(
    parameters: Sequence[nn.Parameter], optimizer: torch.optim.Optimizer, *, clip_norm: float
) -> Tensor:
    """Clip the gradients to `clip_norm` (0 = off) and update.

    Returns:
        The norm of the gradients before clipping.

    Raises:
        NonFiniteLossError: before the update.
    """
    norm = torch.nn.utils.clip_grad_norm_(parameters, clip_norm if clip_norm > 0 else math.inf)
    if not math.isfinite(norm.item()):
        raise NonFiniteLossError(
            f"the norm of the gradients is {norm.item()}; the weights were not changed by this batch. "
            "Lower SOLVER.BASE_LR (--lr) or lengthen SOLVER.WARM_UP_ITERS"
        )
    optimizer.step()
    return norm
