#!/usr/bin/env bash
# Slim Embedding, Table 2: Penn Treebank, 300 units, the input layer shared at several rates.
# usage: slim_table2.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_table2 "$@"
sweep experiment=slim/table2_ne,slim/table2_ne_dropout_0.1,slim/table2_ne_dropout_0.2,slim/table2_ne_dropout_0.5,\
slim/table2_se_20k,slim/table2_se_20k_dropout_0.1,slim/table2_se_10k,slim/table2_se_10k_dropout_0.1,\
slim/table2_se_6.25k,slim/table2_se_5k
report
