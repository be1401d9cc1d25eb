#!/bin/bash
# One node: one process drives all of its GPUs, so nothing has to be joined.
#SBATCH --job-name=fcn_jax
#SBATCH --nodes=1 --ntasks=1 --gpus-per-node=8 --cpus-per-task=64 --mem=0
#SBATCH --time=24:00:00
#SBATCH --requeue --signal=USR1@180 --open-mode=append --output=%x-%j.log
set -u

# --- yours ---
CONFIG=${CONFIG:-voc_deeplab_largefov}
WORKDIR=${WORKDIR:-runs/$CONFIG}
FLAGS=(--config.data.source_dir="${DATA:-VOCdevkit}" --config.model.dtype=bfloat16)
PYTHON=${PYTHON:-.venv/bin/python}
# -------------

# Slurm warns the step 180 seconds before the end (USR1): it saves, and ends with code 130. srun, not
# the bare command, since Slurm signals the processes that srun started.
srun "$PYTHON" launch.py train --config="$CONFIG" --workdir="$WORKDIR" "${FLAGS[@]}"
code=$?
# Back into the queue; the same command goes on from the checkpoint. scancel ends it for good.
if [ "$code" = 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
