#!/bin/bash
# Many pictures: each task of the array takes a part of them. A task that is started again leaves out
# what it has done.
#   sbatch --array=1-16 docs/clusters/predict_array.sh
#SBATCH --job-name=predict
#SBATCH --ntasks=1 --gpus=1 --cpus-per-task=8
#SBATCH --time=04:00:00
#SBATCH --requeue --output=%x-%A_%a.log
set -u

# --- yours ---
NETWORK=${NETWORK:-networks/camvid_mobilenetv2_fcn8s.safetensors}
PICTURES=${PICTURES:-photos}
OUTPUT=${OUTPUT:-masks}
PYTHON=${PYTHON:-.venv/bin/python}
# -------------

srun "$PYTHON" launch.py predict "$PICTURES" --network="$NETWORK" --output="$OUTPUT" \
    --shard="$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT"
