#!/usr/bin/env bash
# Slim Embedding, Table 3: Penn Treebank, 650 units, the input layer shared at several rates.
# usage: slim_table3.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_table3 "$@"
sweep experiment=slim/table3_ne,slim/table3_ne_dropout_0.1,slim/table3_ne_dropout_0.2,slim/table3_ne_dropout_0.5,\
slim/table3_se_10k,slim/table3_se_5k,slim/table3_se_5k_dropout_0.1,slim/table3_se_1k
report
