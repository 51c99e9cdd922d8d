#!/usr/bin/env bash
# Slim Embedding, Table 6: reranked translations of WMT12. The n-best lists come from Moses; for a trial run,
# benchmarks/nbest_lists.py makes some from any text.
# usage: slim_table6.sh DEV.nbest DEV.reference TEST.nbest TEST.reference [override ...]
. "$(dirname "$0")/_table.sh"
files='DEV.nbest DEV.reference TEST.nbest TEST.reference'
for file in "${1:-}" "${2:-}" "${3:-}" "${4:-}"; do
    [ -f "$file" ] && continue
    echo "'$file' is not a file; usage: slim_table6.sh $files [override ...]" >&2
    exit 2
done
dev=$1 dev_reference=$2 test=$3 test_reference=$4
shift 4
begin slim_table6 "$@"
sweep experiment=slim/table6_ne,slim/table6_se
for run in "$folder"/slim-table6-*; do
    [ ! -f "$run/best.ckpt" ] || attempt lightrnn-rescore "checkpoints=[$run]" "dev=$dev" "dev_references=[$dev_reference]" \
        "test=$test" "test_references=[$test_reference]" "json=$run/rescored.json"
done
report
