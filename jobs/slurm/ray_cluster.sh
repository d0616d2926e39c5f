# shellcheck shell=bash
# Sourced by the batch scripts. `run_on_ray COMMAND...` starts Ray on every node of the job's allocation, runs the
# command on the first of them, stops Ray, and ends with the command's exit status. Shortly before the time limit the
# command gets SIGTERM, and the job is put back into the queue to go on where it stopped.
#
# Not `ray symmetric-run`: it stops every Ray of the user on a node, other jobs' too, refuses to start beside one, and
# ends with status 0 when Ray could not be started.
#
# Settings, all optional:
#   EMOLABEL_HOME    this repository [default: the folder in which sbatch was called]
#   EMOLABEL_PYTHON  [default: .venv/bin/python in there, or else the python of the environment]
#   EMOLABEL_TMP     local disk of each node, not a long path: Ray has Unix sockets below it [default: /tmp]
#   EMOLABEL_LOGS    folder that gets Ray's logs before they are removed [default: none are kept]

home=${EMOLABEL_HOME:-$SLURM_SUBMIT_DIR}
python=${EMOLABEL_PYTHON:-$home/.venv/bin/python}
[[ -x $python ]] || python=python
folder=${EMOLABEL_TMP:-/tmp}/emo-$SLURM_JOB_ID
port=$((20000 + SLURM_JOB_ID % 5000 * 2)) # two for each job: Ray, and its dashboard on loopback
start_limit_s=300
# shellcheck source=jobs/slurm/node_folder.sh
source "$home/jobs/slurm/node_folder.sh"

command_pid="" to_nodes="" nodes_pid="" relay_pid="" # of what runs
stopping=""                                          # SIGTERM has come
again=""                                             # it was the notice before the time limit

run_on_ray() {
    local status=75 left # "try again", if nothing gets to run
    trap on_term TERM
    trap stop_ray EXIT
    start_ray
    export RAY_ADDRESS=$head_ip:$port RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH=$folder/token
    export RAY_USAGE_STATS_ENABLED=0 PYTHONPATH=$home${PYTHONPATH:+:$PYTHONPATH}
    unset RAY_AUTH_TOKEN # it would win over the file
    if [[ ! $stopping ]]; then
        "$@" {to_nodes}>&- &
        command_pid=$!
        status=0
        wait "$command_pid" || status=$?
    fi
    if [[ $stopping && $command_pid ]]; then # `wait` has been interrupted
        for ((left = $(seconds_to_stop); left > 0; left--)); do
            kill -0 "$command_pid" 2>/dev/null || break
            sleep 1
        done
        kill -KILL "$command_pid" 2>/dev/null || true
        status=0
        wait "$command_pid" || status=$?
    fi
    trap '' TERM
    stop_ray
    if [[ $again && $status != 0 ]]; then
        echo "stopped before the time limit; the job goes back into the queue and will go on from here"
        scontrol requeue "$SLURM_JOB_ID"
    fi
    exit "$status"
}

start_ray() {
    local line n_up=0 from_nodes
    head_ip=$(head_address)
    sweep "$folder"
    mkdir -m 700 "$folder"
    hold "$folder"
    (umask 077 && od -An -N32 -tx1 /dev/urandom | tr -d ' \n' >"$folder/token" && echo >>"$folder/token")
    mkfifo "$folder/to" "$folder/from"
    # The token reaches the nodes through standard input: in no argument, no environment, no shared file. While it
    # stays open, they run; so they also end if this script dies.
    env -u SLURM_CPUS_PER_TASK srun --nodes="$SLURM_JOB_NUM_NODES" --ntasks="$SLURM_JOB_NUM_NODES" \
        --ntasks-per-node=1 --cpu-bind=none --wait=0 \
        bash "$home/jobs/slurm/ray_node.sh" "$home" "$python" "$head_ip" "$port" \
        <"$folder/to" >"$folder/from" 2>&1 &
    nodes_pid=$!
    exec {to_nodes}>"$folder/to" {from_nodes}<"$folder/from"
    cat "$folder/token" >&"$to_nodes"
    while ((n_up < SLURM_JOB_NUM_NODES)) && IFS= read -r -t "$start_limit_s" line <&"$from_nodes"; do
        echo "$line"
        [[ $line != "node "*" failed: "* && ! $stopping ]] || break
        [[ $line == "node "*" is up: "* ]] || continue
        n_up=$((n_up + 1))
        ((n_up > 1)) || echo "the first node is up" >&"$to_nodes" # the others cannot join before
    done
    cat <&"$from_nodes" {to_nodes}>&- & # what the nodes have to say later
    relay_pid=$!
    exec {from_nodes}<&-
    if ((n_up < SLURM_JOB_NUM_NODES)) && [[ ! $stopping ]]; then
        stop_ray
        echo "Ray is up on $n_up nodes of $SLURM_JOB_NUM_NODES: giving up" >&2
        exit 1
    fi
}

stop_ray() {
    [[ ! $to_nodes ]] || exec {to_nodes}>&-
    to_nodes=""
    [[ ! $nodes_pid ]] || wait "$nodes_pid" || true
    [[ ! $relay_pid ]] || wait "$relay_pid" || true
    nodes_pid="" relay_pid=""
    rm -rf "$folder"
}

# SLURM signals only this shell when the time limit is near (--signal=B:...), and the job is still running then. When
# a job is cancelled, preempted or requeued, every process of it gets the signal from SLURM.
on_term() {
    local state
    [[ ! $stopping ]] || return 0
    stopping=1
    state=$(timeout 20 squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T) || state=unknown
    [[ $state != RUNNING ]] || again=1
    [[ $state != RUNNING && $state != unknown ]] || [[ ! $command_pid ]] || kill -TERM "$command_pid" || true
}

seconds_to_stop() { # ending Ray takes some, too
    local end
    if [[ $again ]]; then
        end=$(scontrol show job --oneliner "$SLURM_JOB_ID" | sed -n 's/.* EndTime=\([^ ]*\).*/\1/p')
        end=$(date -d "$end" +%s) && echo $((end - $(date +%s) - 30)) && return
    fi
    echo 20 # SLURM itself kills after 30
}

# The address under which the other nodes see this one: that of the interface on the way to the last of them. Its own
# name may stand for a loopback address here.
head_address() {
    local last=127.0.0.1
    if ((SLURM_JOB_NUM_NODES > 1)); then
        last=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | tail -n 1)
        last=$(scontrol show node --oneliner "$last" | sed -n 's/.* NodeAddr=\([^ ]*\).*/\1/p')
    fi
    "$python" "$home/jobs/slurm/address_towards.py" "$last"
}
