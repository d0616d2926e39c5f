#!/bin/sh
# Installs what the SLURM tests need, where that may be done; otherwise says why not, and the tests skip.
PATH=$PATH:/usr/sbin
command -v munged slurmctld slurmd >/dev/null && exit 0
if ! command -v apt-get >/dev/null; then
    echo "SLURM is not installed, and this is no Debian: install slurmctld, slurmd and munge by hand" >&2
elif [ "$(id -u)" != 0 ]; then
    echo "SLURM is not installed, and installing needs root: sudo apt-get install slurm-wlm munge" >&2
else
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -qq --no-install-recommends slurm-wlm munge && exit 0
    echo "SLURM could not be installed" >&2
fi
