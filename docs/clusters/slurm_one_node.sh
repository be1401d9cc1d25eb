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

# srun, not the bare command: Slurm warns what srun started, 180 seconds before the end (USR1). In Slurm
# 22.05 and 23.02 a task has one CPU unless srun is told the number again.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "$PYTHON" launch.py train \
    --config="$CONFIG" --workdir="$WORKDIR" "${FLAGS[@]}" &
step=$!
# What warns this script instead (--signal=B:USR1, scancel --batch) is handed on.
trap 'kill -USR1 "$step"' USR1
# A signal ends `wait`, not the step.
while kill -0 "$step" 2>/dev/null; do wait "$step"; done
wait "$step"
code=$?
# 130: saved after a warning. Back into the queue; the same command goes on from the checkpoint. A job
# that was cancelled stays so: TERM ends this script, and Incomplete leaves out what does not run.
if [ "$code" = 130 ]; then
    scontrol requeue Incomplete "$SLURM_JOB_ID"
fi
exit "$code"
