"""BatchNorm whose statistics come from the batches of all processes, on any device."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn


class SyncBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm2d with mean and variance over the cells of all processes of the default group while training.

    torch's own SyncBatchNorm runs on GPUs alone, and DistributedDataParallel refuses it on a CPU; this one is made of
    torch operations and two small all-reduces, so that what is tested on a CPU is what runs on GPUs. Processes may have
    different numbers of cells. Alone (no process group, or one process) and in evaluation it is BatchNorm2d; the
    parameters and buffers are BatchNorm2d's always. Every process must call it equally often.
    """

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> the same shape and type; statistics are computed in float32 at least."""
        if not (self.training and dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1):
            return super().forward(x)
        self._check_input_dim(x)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        variance, mean = torch.var_mean(wide, dim=(0, 2, 3), correction=0)
        own_count = mean.new_full((1,), x.numel() // self.num_features)
        totals = _sum_over_processes(torch.cat([mean * own_count, own_count]))
        count, total_mean = totals[-1], totals[:-1] / totals[-1]
        total_variance = _sum_over_processes(own_count * (variance + (mean - total_mean).square())) / count
        self._track(total_mean.detach(), total_variance.detach() * count / (count - 1).clamp(min=1))
        scale = (total_variance + self.eps).rsqrt()
        scale = scale * self.weight if self.affine else scale
        bias = self.bias - total_mean * scale if self.affine else -total_mean * scale
        shape = (1, -1, 1, 1)
        return torch.addcmul(bias.view(shape), wide, scale.view(shape)).to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, unbiased_variance: Tensor) -> None:
        """Move the running statistics, as BatchNorm2d does."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1 / self.num_batches_tracked.to(mean.dtype)
        self.running_mean.mul_(1 - share).add_(mean * share)
        self.running_var.mul_(1 - share).add_(unbiased_variance * share)


def _sum_over_processes(x: Tensor) -> Tensor:
    """Sum of a tensor over the processes, with its gradient."""
    return _SumOverProcesses.apply(x)


class _SumOverProcesses(torch.autograd.Function):
    """The gradient of a sum that every process uses is the sum of their gradients."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        total = x.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].clone()
        dist.all_reduce(total)
        return total
