#!/bin/bash
# One node's part of a job's Ray: started by ray_cluster.sh through srun, once on each node of the allocation.
# Reads from standard input the token and, but for the first node, a word that the first one is up. Runs until that
# input is closed.

set -euo pipefail
home=$1 python=$2 head_ip=$3 port=$4
folder=${EMOLABEL_TMP:-/tmp}/emo-$SLURM_JOB_ID-$SLURM_NODEID # tests run two nodes on one machine
name="node $SLURM_NODEID ($SLURMD_NODENAME)"
ray_pid="" watch_pid=""
source "$home/jobs/slurm/node_folder.sh"

main() {
    trap clean_up EXIT
    trap 'exit 143' TERM
    trap 'exit 0' USR1
    sweep "$folder"
    mkdir -m 700 "$folder" # fails where somebody else has put something there; Ray opens its own to everybody
    hold "$folder"
    local token try cpus=$SLURM_CPUS_ON_NODE gpus
    IFS= read -r token
    (umask 077 && printf '%s\n' "$token" >"$folder/token")
    ((SLURM_NODEID == 0)) || IFS= read -r _ || exit 0
    exec {input}<&0
    # The batch script closes the pipe at the end, or dies.
    { while read -r _; do :; done; kill -USR1 $$; } <&"$input" &
    watch_pid=$!
    gpus=$(gpus_here)
    for try in 1 2 3; do # Ray gives itself 30 seconds, too few for a file system that is busy, the first time
        start_ray "$cpus" "$gpus"
        ! ray_is_up || break
        ((try < 3)) || fail "Ray did not start"
    done
    echo "$name is up: $cpus CPUs, $gpus GPUs"
    wait "$ray_pid" || true
    fail "Ray ended"
}

start_ray() {
    local options=(--block --disable-usage-stats --temp-dir="$folder/ray" --num-cpus="$1" --num-gpus="$2")
    # All other ports are whatever is free: a node may have several jobs.
    options+=(--min-worker-port=0 --max-worker-port=0 --dashboard-agent-listen-port=0)
    if ((SLURM_NODEID == 0)); then
        options+=(--head --port="$port" --node-ip-address="$head_ip")
        options+=(--dashboard-host=127.0.0.1 --dashboard-port=$((port + 1)))
    else
        options+=(--address="$head_ip:$port")
        options+=(--node-ip-address="$("$python" "$home/jobs/slurm/address_towards.py" "$head_ip")")
    fi
    local store
    store=$(object_store_bytes)
    [[ ! $store ]] || options+=(--object-store-memory="$store")
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token
    export PYTHONPATH=$home${PYTHONPATH:+:$PYTHONPATH} RAY_START_HOOK=jobs.slurm.ray_hook.without_client_server
    export RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=0 # when Ray is stopped, there is nothing left to wait for
    unset RAY_AUTH_TOKEN RAY_ADDRESS
    "$python" -m ray.scripts.scripts start "${options[@]}" >"$folder/start.log" 2>&1 </dev/null &
    ray_pid=$!
}

ray_is_up() { # or has ended
    until grep -q "Ray runtime started" "$folder/start.log" 2>/dev/null; do
        kill -0 "$ray_pid" 2>/dev/null || return 1
        sleep 0.2
    done
}

gpus_here() { # those that SLURM gave to the job; there may be more in the machine
    local ids
    IFS=, read -ra ids <<<"${SLURM_STEP_GPUS:-}"
    echo "${SLURM_GPUS_ON_NODE:-${#ids[@]}}"
}

# 30 % of the job's memory, as Ray would take of the machine's. Nothing where SLURM does not count memory.
object_store_bytes() {
    local job_mb=${SLURM_MEM_PER_NODE:-$((${SLURM_MEM_PER_CPU:-0} * SLURM_CPUS_ON_NODE))} shared_mb
    ((job_mb > 0)) || return 0
    shared_mb=$(df --output=avail --block-size=1M /dev/shm | tail -n 1)
    echo $(((job_mb * 3 / 10 < shared_mb ? job_mb * 3 / 10 : shared_mb) * 1024 * 1024))
}

fail() {
    trap '' USR1 # the batch script gives up when it reads this
    echo "$name failed: $1"
    [[ ! -f $folder/start.log ]] || tail -n 20 "$folder/start.log"
    exit 1
} >&2

# shellcheck disable=SC2317  # the trap calls it
clean_up() {
    trap '' TERM USR1
    rm -f "$folder/token"
    [[ ! $watch_pid ]] || kill "$watch_pid" 2>/dev/null || true
    [[ ! $ray_pid ]] || { kill "$ray_pid" && wait "$ray_pid"; } 2>/dev/null || true
    if [[ ${EMOLABEL_LOGS:-} && -d $folder/ray/session_latest/logs ]]; then
        mkdir -p "$EMOLABEL_LOGS"
        cp -r "$folder/ray/session_latest/logs/." "$EMOLABEL_LOGS/$SLURM_JOB_ID-$SLURM_NODEID" || true
    fi
    rm -rf "$folder"
}

main
