#!/usr/bin/env bash
# Slim Embedding, Table 3: Penn Treebank, 650 units, the input compressed at several ratios.
# usage: slim_table3.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_table3 "$@"
sweep experiment=slim/table3 paper.model=ne,ne-dropout-0.1,ne-dropout-0.2,ne-dropout-0.5,\
se-10k,se-5k,se-5k-dropout-0.1,se-1k
report
