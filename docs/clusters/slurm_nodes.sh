#!/bin/bash
# Several nodes: one process for each GPU. jax asks Slurm's variables who is process 0, how many there
# are, and which GPU is whose: number SLURM_LOCALID of those of the node, so each has to see them all
# (--gpus-per-node, not --gpus-per-task).
#SBATCH --job-name=fcn_jax
#SBATCH --nodes=4 --ntasks-per-node=8 --gpus-per-node=8 --cpus-per-task=8 --mem=0
#SBATCH --time=24:00:00
#SBATCH --requeue --signal=USR1@180 --open-mode=append --output=%x-%j.log
set -u

# --- yours: train.batch_size is that of all GPUs together ---
CONFIG=${CONFIG:-voc_deeplab_largefov}
WORKDIR=${WORKDIR:-runs/$CONFIG}
FLAGS=(--config.data.source_dir="${DATA:-VOCdevkit}" --config.train.batch_size=256)
PYTHON=${PYTHON:-.venv/bin/python}
# -------------

# In Slurm 22.05 and 23.02 a task has one CPU unless srun is told the number again.
CPUS=--cpus-per-task=$SLURM_CPUS_PER_TASK

# Build the data set once, in one process, before many of them look for it.
srun --nodes=1 --ntasks=1 "$CPUS" "$PYTHON" launch.py prepare --config="$CONFIG" "${FLAGS[0]}" || exit

# Slurm warns every process, 180 seconds before the end (USR1), and all save after the same step.
# --kill-on-bad-exit=0: they end with 130, and the first that has must not have Slurm kill the others.
# Where one fails, the others find out by themselves.
srun --kill-on-bad-exit=0 "$CPUS" "$PYTHON" launch.py train --distributed \
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
