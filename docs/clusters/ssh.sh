#!/bin/bash
# A few machines and no scheduler: one process on each, with all of its GPUs. Ctrl-C saves and ends; a
# second one ends at once.
#   HOSTS="node1 node2" docs/clusters/ssh.sh
set -u

# --- yours ---
read -ra HOSTS <<<"${HOSTS:?the machines, such as node1 node2; the first is process 0}"
PORT=${PORT:-12345}
CONFIG=${CONFIG:-voc_deeplab_largefov}
WORKDIR=${WORKDIR:-/shared/runs/$CONFIG}
DATA=${DATA:-/shared/VOCdevkit}
# -------------

# ssh hands no signal on, and those below do not hear Ctrl-C. So each training leaves its number in a
# file of the home folder. At first process 0 is told to stop, and tells the others; then all are.
told=(0)
trap '(for index in "${told[@]}"; do
    ssh "${HOSTS[index]}" "kill -INT \$(cat .fcn_jax.$PORT.$index)" </dev/null &
done); told=("${!HOSTS[@]}")' INT TERM

# -tt: when this terminal or a connection goes away, the training there is hung up on, and saves.
processes=()
for index in "${!HOSTS[@]}"; do
    ssh -tt "${HOSTS[index]}" "echo \$\$ >.fcn_jax.$PORT.$index && cd fcn_jax && \
exec .venv/bin/python launch.py train --config=$CONFIG --workdir=$WORKDIR \
--config.data.source_dir=$DATA --coordinator=${HOSTS[0]}:$PORT \
--num_processes=${#HOSTS[@]} --process_id=$index" </dev/null &
    processes+=($!)
done
worst=0
for process in "${processes[@]}"; do
    # A signal ends `wait`, not the training.
    while kill -0 "$process" 2>/dev/null; do wait "$process"; done
    wait "$process"
    code=$?
    if [ "$code" -gt "$worst" ]; then worst=$code; fi
done
exit "$worst"
