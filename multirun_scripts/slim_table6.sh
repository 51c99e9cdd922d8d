#!/usr/bin/env bash
# Slim Embedding, Table 6: translations of WMT12 reranked; the lists are Moses's (benchmarks/nbest_lists.py makes some
# of any text to try it on).
# usage: slim_table6.sh DEV.nbest DEV.reference TEST.nbest TEST.reference [override ...]
. "$(dirname "$0")/_table.sh"
for file in "${@:1:4}"; do [ -f "$file" ] || set --; done
if [ $# -lt 4 ]; then
    echo "usage: slim_table6.sh DEV.nbest DEV.reference TEST.nbest TEST.reference [override ...]: four files first" >&2
    exit 2
fi
dev=$1 dev_reference=$2 test=$3 test_reference=$4
begin slim_table6 "${@:5}"
sweep experiment=slim/table6_ne,slim/table6_se
for run in "$folder"/slim-table6-*; do
    [ ! -f "$run/best.ckpt" ] || lightrnn-rescore "checkpoints=[$run]" "dev=$dev" "dev_references=[$dev_reference]" \
        "test=$test" "test_references=[$test_reference]" "json=$run/rescored.json" || status=$?
done
report
