"""An exponential moving average of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class MovingAverage:
    """average <- d average + (1 - d) weights after each update, d = min(decay, (1 + n) / (10 + n)) after n updates.

    The smaller d of the first updates lets go of the start. Parameters are averaged; buffers are copied.

    Args:
        model: whose weights are averaged; the average starts with them.
        decay: d in the long run, between 0 and 1.
    """

    def __init__(self, model: nn.Module, *, decay: float) -> None:
        self.model = model
        self.decay = decay
        self._parameters = {name for name, _ in model.named_parameters()}
        self.values = {name: value.detach().clone() for name, value in model.state_dict().items()}

    @torch.no_grad()
    def update(self, num_updates: int) -> None:
        """Take in the present weights, those after `num_updates` updates."""
        decay = min(self.decay, (1 + num_updates) / (10 + num_updates))
        for name, value in self.model.state_dict().items():
            if name in self._parameters:
                self.values[name].lerp_(value, 1 - decay)
            else:
                self.values[name].copy_(value)

    def restore(self, values: Mapping[str, Tensor]) -> None:
        """Go on with `values`, by name as in the model's state dict."""
        for name, value in values.items():
            self.values[name].copy_(value)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the averaged weights within the block, and its own again after it."""
        own = {name: value.detach().clone() for name, value in self.model.state_dict().items()}
        self.model.load_state_dict(self.values)
        try:
            yield
        finally:
            self.model.load_state_dict(own)
