#!/bin/bash
# A sweep: each task of the array is a run of its own, on one GPU.
#   sbatch --array=0-5 docs/clusters/sweep_array.sh
#SBATCH --job-name=sweep
#SBATCH --ntasks=1 --gpus=1 --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --requeue --signal=USR1@180 --open-mode=append --output=%x-%A_%a.log
set -u

# --- yours: every network with every seed; the array counts them, from 0 on ---
CONFIGS=(voc_fcn32s voc_fcn8s voc_deeplab_largefov)
SEEDS=(0 1)
FLAGS=(--config.data.source_dir="${DATA:-VOCdevkit}")
PYTHON=${PYTHON:-.venv/bin/python}
# -------------

CONFIG=${CONFIGS[SLURM_ARRAY_TASK_ID / ${#SEEDS[@]}]}
SEED=${SEEDS[SLURM_ARRAY_TASK_ID % ${#SEEDS[@]}]}
# slurm_one_node.sh says why all of this is so.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "$PYTHON" launch.py train \
    --config="$CONFIG" --workdir="runs/${CONFIG}_seed$SEED" --config.seed="$SEED" "${FLAGS[@]}" &
step=$!
trap 'kill -USR1 "$step"' USR1
while kill -0 "$step" 2>/dev/null; do wait "$step"; done
wait "$step"
code=$?
if [ "$code" = 130 ]; then
    scontrol requeue Incomplete "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
