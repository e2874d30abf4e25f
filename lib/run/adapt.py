"""A configuration made ready for this computer and for a batch size."""

from __future__ import annotations

import logging
import os

from fpt.core.config import check_cfg, checked_copy
from fpt.core.config_node import CfgNode
from fpt.run.devices import count_devices, resolve_device
from fpt.run.names import check_names
from fpt.run.options import RunOptions
from fpt.solver.build import apply_changes, batch_changes
from fpt.utils.distributed import local_world_size
from fpt.utils.errors import UserError

_LOGGER = logging.getLogger("fpt")


def resolve_config(cfg: CfgNode) -> CfgNode:
    """A frozen copy whose DEVICE is that of this computer, with no more loader workers than its share of the cores.

    Raises:
        UserError: DEVICE is not here; a part is named that there is not; or `cfg` was changed by hand to what is not
            legal.
    """
    copy = checked_copy(cfg)
    check_names(copy)
    copy.DEVICE = resolve_device(copy.DEVICE)
    cores = max(1, (os.cpu_count() or 1) // local_world_size())
    if copy.DATA_LOADER.NUM_THREADS > cores:
        _LOGGER.info("DATA_LOADER.NUM_THREADS: %d -> %d, the cores a process", copy.DATA_LOADER.NUM_THREADS, cores)
        copy.DATA_LOADER.NUM_THREADS = cores
    return copy.freeze()


def adapt_to_batch(cfg: CfgNode, options: RunOptions) -> CfgNode:
    """A frozen copy whose rates and steps fit the batch size of `options` on the devices that there are.

    Every change is logged.

    Raises:
        UserError: the devices cannot share the batch equally, or a changed value is not legal.
    """
    num_devices = count_devices(cfg)
    batch_size = options.batch_size or cfg.TRAIN.IMS_PER_BATCH * num_devices
    if batch_size % num_devices:
        raise UserError(
            f"--bs {batch_size} can't be shared equally by {num_devices} devices; give a multiple of {num_devices}, or "
            "use fewer (CUDA_VISIBLE_DEVICES=0,1 or torchrun --nproc-per-node)"
        )
    changes = batch_changes(
        cfg, batch_size=batch_size, iter_size=options.iter_size, num_devices=num_devices, given=options.keep
    )
    for change in changes:
        _LOGGER.info("adapted %s", change)
    adapted = apply_changes(cfg, changes)
    check_cfg(adapted, {change.key: f"as adapted to {change.reason}" for change in changes})
    return adapted
