# shellcheck shell=bash
# Sourced. Folders on a node's local disk, which last no longer than the job they belong to.

# Remove this folder, and those like it that nobody holds any more: when a job is cancelled, or its node fails, there
# may be no time left to remove what it had here.
sweep() {
    local other
    for other in "${1%/*}"/emo-*/; do
        [[ ! -O ${other}lock ]] || flock --nonblock "${other}lock" rm -rf "$other" || true
    done
    rm -rf "$1"
}

# Hold a folder for as long as this shell, or what it has started, runs.
hold() {
    local lock
    exec {lock}>"$1/.lock"
    flock "$lock"
    mv "$1/.lock" "$1/lock" # nobody sees it unlocked
}
