#!/usr/bin/env bash
# LightRNN, Table 4: BillionW, single models, and each interpolated with a Kneser-Ney 5-gram.
# usage: lightrnn_table4.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_table4 "$@"
sweep experiment=lightrnn/table4_hsm,lightrnn/table4_b_rnn,lightrnn/table4_lightrnn
for run in "$folder"/lightrnn-table4-*; do
    if [ "$run/best.ckpt" -nt "$run/kn.json" ]; then
        attempt lightrnn-evaluate "checkpoint=$run" interpolate=kn "json=$run/kn.json"
    fi
done
report
