#!/usr/bin/env bash
# Slim Embedding, Table 7: time of an output layer for BillionW (793,471 words), 2048 units, batches of 20 words.
# scale=small uses 100,000 words and 512 units. Other arguments are passed to benchmarks/output_layers.py. For the GPU
# column, run the script again with --device cuda (or cuda:1, mps); the report then contains both columns.
# usage: slim_table7.sh [scale=small] [argument ...]
. "$(dirname "$0")/_table.sh"
begin slim_table7 "$@"
sizes=(--vocabulary 793471 --hidden 2048)
[ "$scale" = paper ] || sizes=(--vocabulary 100000 --hidden 512)
file=output_layers previous=''
for argument in "$@"; do
    shift
    [[ $argument = scale=* ]] || set -- "$@" "$argument"
    [[ $previous != --device && $argument != --device=* ]] || file=output_layers-${argument#--device=}
    previous=$argument
done
mkdir -p "$folder"
attempt python "$(dirname "$0")/../benchmarks/output_layers.py" "${sizes[@]}" --batch 20 --outputs full,hashed,slim \
    --json "$folder/$file.json" "$@"
report
