#!/bin/sh
# The whole training procedure by its public commands, on composite clips of FER-2013 faces and RAVDESS voices,
# with EMO-DB's voices for the audio branch too. The face branch starts from emolabel-1's, which has seen none of them.
# Usage: training/smoke.sh LABELLED OUT (LABELLED holds fer2013/, ravdess_speech/ and emodb/)
set -eu
labelled=$1 out=$2
if [ ! -d "$labelled" ]; then
    echo "train-smoke: skipped, there is no folder $labelled with FER-2013, RAVDESS and EMO-DB" >&2
    exit 0
fi
rm -rf "$out"
mkdir -p "$out"
settings=training/configs/smoke.toml

python jobs/dataset.py fer2013 "$labelled/fer2013" --unpack "$out/fer2013" --clean -o "$out/fer2013.csv"
python jobs/dataset.py ravdess "$labelled/ravdess_speech" -o "$out/ravdess.csv"
python jobs/dataset.py emodb "$labelled/emodb" -o "$out/emodb.csv"

# Faces of the validation split, from which emolabel-1 has not learnt.
python jobs/composite.py --faces "$out/fer2013.csv" --split validation --voices "$out/ravdess.csv" -o "$out/clips" --per-class 40

python jobs/prepare.py "$out/clips/manifest.csv" --settings $settings -o "$out/prepared/clips"
python jobs/prepare.py "$out/emodb.csv" --settings $settings --no-face --no-motion -o "$out/prepared/voices"

python jobs/train.py $settings --start emolabel-1 --start-branch face \
    --set clips="$out/prepared/clips" --set voices="$out/prepared/voices" -o "$out/run"
python jobs/evaluate.py "$out/run" -o "$out/report"
emolabel annotate "$out/clips" --model "$out/run/ensemble" --whole-clip --limit 7 -o "$out/labels"
