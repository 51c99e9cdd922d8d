#!/usr/bin/env bash
# LightRNN, Table 2: perplexity and parameters by the size of the vectors, ACLW-French.
# usage: lightrnn_table2.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_table2 "$@"
sweep experiment=lightrnn/table2_200,lightrnn/table2_600,lightrnn/table2_1000
report
