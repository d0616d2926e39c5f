#!/bin/sh
# The whole training procedure by its public commands, on composite clips of FER-2013 faces and RAVDESS voices.
# Usage: training/smoke.sh LABELLED OUT (LABELLED holds fer2013/ and ravdess_speech/)
set -eu
labelled=$1 out=$2
if [ ! -d "$labelled" ]; then
    echo "train-smoke: skipped, there is no folder $labelled with FER-2013 and RAVDESS" >&2
    exit 0
fi
rm -rf "$out"
mkdir -p "$out"
settings=training/configs/smoke.toml

python jobs/dataset.py fer2013 "$labelled/fer2013" --unpack "$out/fer2013" --clean -o "$out/fer2013.csv"
python jobs/dataset.py ravdess "$labelled/ravdess_speech" -o "$out/ravdess.csv"

# Faces of the validation split become clips; pictures of the training split help the face branch.
python jobs/composite.py --faces "$out/fer2013.csv" --split validation --voices "$out/ravdess.csv" -o "$out/clips" --per-class 30
python jobs/prepare.py "$out/clips/manifest.csv" --settings $settings -o "$out/prepared/clips"
{ head -n 1 "$out/fer2013.csv"; grep ',train,' "$out/fer2013.csv" | shuf -n 3000 --random-source="$out/fer2013.csv"; } > "$out/pictures.csv"
python jobs/prepare.py "$out/pictures.csv" --settings $settings --faces whole --no-audio --no-motion -o "$out/prepared/pictures"

python jobs/train.py $settings --set clips="$out/prepared/clips" --set pictures="$out/prepared/pictures" -o "$out/run"
python jobs/evaluate.py "$out/run" -o "$out/report"
emolabel annotate "$out/clips" --model "$out/run/ensemble" --whole-clip --limit 14 -o "$out/labels"
