#!/bin/sh
# The whole training procedure by its public commands, on composite clips of FER-2013 faces and RAVDESS voices,
# with more FER-2013 pictures for the face branch and EMO-DB's voices for the audio branch.
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

# Faces of the validation split become clips; 3,000 pictures of the training split teach the face branch beforehand.
python jobs/composite.py --faces "$out/fer2013.csv" --split validation --voices "$out/ravdess.csv" -o "$out/clips" --per-class 40
{ head -n 1 "$out/fer2013.csv"; grep ',train,' "$out/fer2013.csv" | shuf -n 3000 --random-source="$out/fer2013.csv"; } > "$out/pictures.csv"

python jobs/prepare.py "$out/clips/manifest.csv" --settings $settings -o "$out/prepared/clips"
python jobs/prepare.py "$out/emodb.csv" --settings $settings --no-face --no-motion -o "$out/prepared/voices"
python jobs/prepare.py "$out/pictures.csv" --settings $settings --faces whole --no-audio --no-motion -o "$out/prepared/pictures"

python jobs/train.py training/configs/smoke-face.toml --single --set pictures="$out/prepared/pictures" -o "$out/face"
python jobs/train.py $settings --start "$out/face/all/bundle" \
    --set clips="$out/prepared/clips" --set voices="$out/prepared/voices" -o "$out/run"
python jobs/evaluate.py "$out/run" -o "$out/report"
emolabel annotate "$out/clips" --model "$out/run/ensemble" --whole-clip --limit 14 -o "$out/labels"
