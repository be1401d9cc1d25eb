#!/bin/bash
# Many pictures: each task of the array takes a part of them. A task that is started again leaves out
# what it has done.
#   sbatch --array=1-16 docs/clusters/predict_array.sh
#   PARTS=16 sbatch --array=3,7 docs/clusters/predict_array.sh    (two of them once more)
#SBATCH --job-name=predict
#SBATCH --ntasks=1 --gpus=1 --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue --output=%x-%A_%a.log
set -u

# --- yours ---
NETWORK=${NETWORK:-networks/camvid_mobilenetv2_fcn8s.safetensors}
PICTURES=${PICTURES:-photos}
OUTPUT=${OUTPUT:-masks}
PARTS=${PARTS:-$SLURM_ARRAY_TASK_COUNT}
PYTHON=${PYTHON:-.venv/bin/python}
# -------------

# In Slurm 22.05 and 23.02 a task has one CPU unless srun is told the number again.
srun --cpus-per-task="$SLURM_CPUS_PER_TASK" "$PYTHON" launch.py predict "$PICTURES" \
    --network="$NETWORK" --output="$OUTPUT" --shard="$SLURM_ARRAY_TASK_ID/$PARTS"
