#!/usr/bin/env bash
# Slim Embedding, Table 7: time of an output layer, BillionW's 793,471 words, 2048 units, minibatches of 20 words.
# In small: scale=small takes 100,000 words and 512 units.  Other arguments go to benchmarks/output_layers.py.
# usage: slim_table7.sh [scale=small] [argument ...]
. "$(dirname "$0")/_table.sh"
begin slim_table7 "$@"
sizes=(--vocabulary 793471 --hidden 2048)
[ "$scale" = paper ] || sizes=(--vocabulary 100000 --hidden 512)
for argument in "$@"; do
    shift
    [[ $argument = scale=* ]] || set -- "$@" "$argument"
done
mkdir -p "$folder"
python "$(dirname "$0")/../benchmarks/output_layers.py" "${sizes[@]}" --batch 20 --outputs full,hashed,slim \
    --json "$folder/output_layers.json" "$@" || status=$?
report
