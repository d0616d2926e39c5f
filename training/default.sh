#!/bin/sh
# The default model, from data sets to bundle and model card, by public commands. Run it again to go on after it was
# interrupted: training resumes from its last epoch, labels from their last window.
# Usage: training/default.sh LABELLED OUT (LABELLED holds fer2013/, ravdess_speech/ and emodb/)
set -eu
labelled=$1 out=$2
name=emolabel-1 folds="0 1 2 3 4"
face=training/configs/default-face.toml audio=training/configs/default-audio.toml
mkdir -p "$out"

# Face and voice branches. The face branch is measured on FER-2013's PublicTest, the voice branch by folds of speakers.
python jobs/dataset.py fer2013 "$labelled/fer2013" --unpack "$out/fer2013" --clean -o "$out/fer2013.csv"
python jobs/dataset.py ravdess "$labelled/ravdess_speech" -o "$out/ravdess.csv"
python jobs/dataset.py emodb "$labelled/emodb" -o "$out/emodb.csv"
python jobs/prepare.py "$out/fer2013.csv" --settings $face --faces whole -o "$out/prepared/faces"
python jobs/prepare.py "$out/ravdess.csv" "$out/emodb.csv" --settings $audio -o "$out/prepared/voices"
python jobs/prepare.py "$out/ravdess.csv" --settings $audio -o "$out/prepared/ravdess"
python jobs/train.py $audio --set voices="$out/prepared/voices" -o "$out/audio"
python jobs/train.py $audio --single --set voices="$out/prepared/voices" -o "$out/audio-all"
python jobs/train.py $audio --single --set voices="$out/prepared/ravdess" -o "$out/transfer"
python jobs/train.py $face --single --set fer2013="$out/prepared/faces" -o "$out/face"

combine() {  # combine BUNDLE-OF-VOICES OUT NAME [CLIPS...]: not yet there, or anew
    voices=$1 bundle=$2 called=$3
    shift 3
    rm -rf "$bundle"
    python jobs/combine.py --face "$out/face/all/bundle" --face-held-out "$out/face" --face-level 0.3 \
        --audio "$voices" --audio-held-out "$out/audio" --name "$called" \
        --licence training/configs/default-licence.json "$@" -o "$bundle"
}

# Composite clips: faces of PublicTest, and voices that the fold's network did not learn from.
for k in $folds; do
    python -c "
import pandas, sys
voices = pandas.read_parquet(sys.argv[1]).assign(start_s='', end_s='').rename(columns={'input': 'uri'})
voices[['uri', 'label', 'subject', 'split', 'start_s', 'end_s', 'dataset']].to_csv(sys.argv[2], index=False)
" "$out/audio/fold-$k/predictions.parquet" "$out/voices-$k.csv"
    [ -e "$out/clips/$k/manifest.csv" ] || python jobs/composite.py --faces "$out/fer2013.csv" --split validation \
        --voices "$out/voices-$k.csv" -o "$out/clips/$k" --per-class 12 --seed "$k"
    combine "$out/audio/fold-$k/bundle" "$out/bundles/apart-$k" $name-fold-$k
    emolabel annotate "$out/clips/$k/manifest.csv" --model "$out/bundles/apart-$k" --whole-clip -o "$out/labels/apart-$k"
done
# The fused label of a fold is calibrated on the clips of the other folds.
for k in $folds; do
    others=$(for other in $folds; do [ "$other" = "$k" ] || echo "--clips $out/labels/apart-$other"; done)
    combine "$out/audio/fold-$k/bundle" "$out/bundles/fused-$k" $name-fold-$k $others
    emolabel annotate "$out/clips/$k/manifest.csv" --model "$out/bundles/fused-$k" --whole-clip -o "$out/labels/fused-$k"
done
combine "$out/audio-all/all/bundle" "$out/$name" $name $(for k in $folds; do echo "--clips $out/labels/apart-$k"; done)

# What the model card says.
{ head -n 1 "$out/fer2013.csv"; grep ',validation,' "$out/fer2013.csv"; } > "$out/publictest.csv"
emolabel annotate "$out/publictest.csv" --model "$out/$name" --faces whole --whole-clip -o "$out/labels/publictest"
emolabel annotate "$out/emodb.csv" --model "$out/transfer/all/bundle" --whole-clip -o "$out/labels/transfer"
python jobs/evaluate.py "$out/labels/publictest" --by dataset -o "$out/report/face"
python jobs/evaluate.py "$out/audio" --by dataset --by fold -o "$out/report/audio"
python jobs/evaluate.py "$out/labels/transfer" --by dataset -o "$out/report/transfer"
python jobs/evaluate.py $(for k in $folds; do echo "$out/labels/fused-$k"; done) --by dataset -o "$out/report/clips"
{
    sed '/^<!--/d' training/configs/default-card.md
    for part in face audio transfer clips; do
        printf '\n## Measured: %s\n\n' "$(sed -n "s/^<!-- $part: \(.*\) -->$/\1/p" training/configs/default-card.md)"
        sed '1,2d; s/^#/##/' "$out/report/$part/summary.md"
    done
} > "$out/$name/README.md"
echo "$out/$name"
