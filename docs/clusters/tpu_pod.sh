#!/bin/bash
# A slice of a TPU pod: the same command on every host; jax finds the others by the pod's metadata.
# Run it where gcloud is; the code, its environment and the data lie on every host (or on a file system
# that all of them mount, as the run folder has to).
set -u

# --- yours ---
TPU=${TPU:?name of the TPU, such as my-v5e-16}
ZONE=${ZONE:?its zone, such as us-west4-a}
CONFIG=${CONFIG:-voc_deeplab_largefov}
WORKDIR=${WORKDIR:-/mnt/shared/runs/$CONFIG}
DATA=${DATA:-/mnt/shared/VOCdevkit}
# -------------

COMMAND="cd fcn_jax && .venv/bin/python launch.py train --distributed --config=$CONFIG"
COMMAND+=" --workdir=$WORKDIR --config.data.source_dir=$DATA --config.model.dtype=bfloat16"

# A slice that was preempted is made anew, and this script started again: the run goes on.
exec gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker=all --command="$COMMAND"
