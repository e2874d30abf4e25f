"""Autocast, where a part chooses its types itself."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def without_autocast(device_type: str) -> AbstractContextManager[object]:
    """Each type is chosen within. Where autocast is off already, or unknown as on meta, there is nothing to switch."""
    return torch.autocast(device_type, enabled=False) if is_autocast_on(device_type) else nullcontext()


def is_autocast_on(device_type: str) -> bool:
    """Whether operations on such a device choose a smaller type now."""
    return torch.amp.autocast_mode.is_autocast_available(device_type) and torch.is_autocast_enabled(device_type)
