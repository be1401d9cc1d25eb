#!/bin/bash
# A few machines and no scheduler: one process on each, with all of its GPUs. Ctrl-C saves and ends.
#   HOSTS="node1 node2" docs/clusters/ssh.sh
set -u

# --- yours ---
read -ra HOSTS <<<"${HOSTS:?the machines, such as node1 node2; the first is process 0}"
PORT=${PORT:-12345}
CONFIG=${CONFIG:-voc_deeplab_largefov}
WORKDIR=${WORKDIR:-/shared/runs/$CONFIG}
DATA=${DATA:-/shared/VOCdevkit}
# -------------

# Ctrl-C reaches this script and every ssh of it. With a terminal (-tt) ssh hands it on.
trap : INT
processes=()
for index in "${!HOSTS[@]}"; do
    ssh -tt "${HOSTS[index]}" "cd fcn_jax && .venv/bin/python launch.py train --config=$CONFIG \
--workdir=$WORKDIR --config.data.source_dir=$DATA --coordinator=${HOSTS[0]}:$PORT \
--num_processes=${#HOSTS[@]} --process_id=$index" </dev/null &
    processes+=($!)
done
worst=0
for process in "${processes[@]}"; do
    wait "$process"
    code=$?
    # A signal ends `wait` too, while the process goes on.
    while kill -0 "$process" 2>/dev/null; do
        wait "$process"
        code=$?
    done
    if [ "$code" -gt "$worst" ]; then worst=$code; fi
done
exit "$worst"
