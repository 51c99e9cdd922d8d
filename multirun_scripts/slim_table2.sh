#!/usr/bin/env bash
# Slim Embedding, Table 2: Penn Treebank, 300 units, the input compressed at several ratios.
# usage: slim_table2.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_table2 "$@"
sweep experiment=slim/table2 paper.model=ne,ne-dropout-0.1,ne-dropout-0.2,ne-dropout-0.5,\
se-20k,se-20k-dropout-0.1,se-10k,se-10k-dropout-0.1,se-6.25k,se-5k
report
