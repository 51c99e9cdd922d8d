#!/usr/bin/env bash
# LightRNN, Figure 5: words that share a row after several rounds, BillionW.
# usage: lightrnn_figure5.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_figure5 "$@"
sweep experiment=lightrnn/figure5
for run in "$folder"/lightrnn-figure5-*; do
    [ ! -f "$run/best.ckpt" ] || attempt lightrnn-table "checkpoint=$run"
done
report
