#!/usr/bin/env bash
# One training on the machines of a SLURM job: sbatch tools/launch/slurm.sh --dataset ... --cfg ... --output_dir ...
# Ahead of its time limit the job gets SIGUSR1: the training saves, the job goes back into the queue and goes on.
#SBATCH --job-name=fpt
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=32
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

head_node=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
export HEAD="$head_node:$((20000 + SLURM_JOB_ID % 20000))" MACHINES="$SLURM_JOB_NUM_NODES" RUN_ID="$SLURM_JOB_ID"

requeue() {
    echo "time is nearly up: saving and requeueing job $SLURM_JOB_ID"
    scancel --signal=TERM "$SLURM_JOB_ID.0" # to torchrun, which passes it on; the training saves after its step
    wait "$step" || true
    scontrol requeue "$SLURM_JOB_ID"
}
trap requeue USR1

srun "${SLURM_SUBMIT_DIR:-.}/tools/launch/torchrun.sh" "$@" &
step=$!
wait "$step"
