#!/bin/bash
# Several nodes: one process for each GPU. jax asks Slurm's variables who is process 0, how many there
# are, and which GPU is whose (SLURM_LOCALID).
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

# Build the data set once, in one process, before many of them look for it.
srun --nodes=1 --ntasks=1 "$PYTHON" launch.py prepare --config="$CONFIG" "${FLAGS[0]}" || exit

# --kill-on-bad-exit: a process that fails takes the others with it at once, and not only when they
# miss it. Every process gets USR1, and all save after the same step.
srun --kill-on-bad-exit=1 "$PYTHON" launch.py train --distributed \
    --config="$CONFIG" --workdir="$WORKDIR" "${FLAGS[@]}"
code=$?
if [ "$code" = 130 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
