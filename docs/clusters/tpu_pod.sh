#!/bin/bash
# A slice of a TPU pod: the same command on every host; jax finds the others by the pod's metadata.
# Run it where gcloud is; the code and its environment lie on every host, the data and the run folder
# on a file system that all of them mount. Ctrl-C saves and ends; a second one ends at once.
set -u

# --- yours ---
TPU=${TPU:?name of the TPU, such as my-v5e-16}
ZONE=${ZONE:?its zone, such as us-west4-a}
CONFIG=${CONFIG:-voc_deeplab_largefov}
WORKDIR=${WORKDIR:-/mnt/shared/runs/$CONFIG}
DATA=${DATA:-/mnt/shared/VOCdevkit}
# -------------

# Takes the worker, or all, and a command.
on_worker() {
    gcloud compute tpus tpu-vm ssh "$TPU" --zone="$ZONE" --worker="$1" --command="$2" </dev/null
}

COMMAND="echo \$\$ >.fcn_jax && cd fcn_jax && exec .venv/bin/python launch.py train --distributed"
COMMAND+=" --config=$CONFIG --workdir=$WORKDIR --config.data.source_dir=$DATA"
COMMAND+=" --config.model.dtype=bfloat16"

# gcloud hands no signal on, and would leave the trainings alone at Ctrl-C: this keeps it out of the
# terminal's group. Worker 0 is told to stop, and tells the others.
set -m
on_worker all "$COMMAND" &
training=$!
trap 'on_worker 0 "kill -INT \$(cat .fcn_jax)"' INT TERM
# A signal ends `wait`, not the training.
while kill -0 "$training" 2>/dev/null; do wait "$training"; done
# Where a slice was preempted, make it anew and start this script again: the run goes on.
wait "$training"
