#!/usr/bin/env bash
# One training on several machines: start it on each of them, with the same HEAD and the same options.
#
#   HEAD=node1:29500 MACHINES=2 tools/launch/torchrun.sh --dataset coco2017 --cfg configs/e2e_fptnet_R-50_mask.yaml \
#       --bs 16 --output_dir /shared/runs/fpt --nw 4
#
# HEAD        name of one machine, and a free port on it (default: this machine alone)
# MACHINES    their number (1)
# PROCESSES   processes a machine; default: one for each GPU, else one
# RESTARTS    how often the training starts again after a process is lost (3); it goes on from its newest checkpoint, and
#             so does this command when it is started again
set -euo pipefail
cd "$(dirname "$0")/../.."

: "${HEAD:=localhost:0}" "${MACHINES:=1}" "${PROCESSES:=gpu}" "${RESTARTS:=3}"
if [ "$PROCESSES" = gpu ] && ! python -c 'import sys, torch; sys.exit(not torch.cuda.is_available())'; then
    PROCESSES=1
fi
export TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1 # a restart must not meet the addresses of processes that are gone
export TORCH_ELASTIC_SHUTDOWN_TIMEOUT="${TORCH_ELASTIC_SHUTDOWN_TIMEOUT:-280}" # seconds to finish a step and save
exec python -m torch.distributed.run --nnodes "$MACHINES" --nproc-per-node "$PROCESSES" --max-restarts "$RESTARTS" \
    --rdzv-backend c10d --rdzv-endpoint "$HEAD" --rdzv-id "${RUN_ID:-fpt}" tools/train_net_step.py --resume auto "$@"
