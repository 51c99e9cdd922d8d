#!/usr/bin/env bash
# LightRNN, Table 5: the six ACLW corpora. LANGUAGES=cs,fr selects some of them.
# The row KN is a Kneser-Ney 4-gram (Botha and Blunsom, 2014), with and without interpolation with LightRNN.
# usage: lightrnn_table5.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_table5 "$@"
sweep experiment=lightrnn/table5_hsm,lightrnn/table5_c_hsm,lightrnn/table5_lightrnn $languages
for run in "$folder"/lightrnn-table5-lightrnn-*; do
    if [ "$run/best.ckpt" -nt "$run/kn.json" ]; then
        attempt lightrnn-evaluate "checkpoint=$run" interpolate=kn interpolate_order=4 "json=$run/kn.json"
    fi
done
report
