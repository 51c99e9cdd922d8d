#!/usr/bin/env bash
# LightRNN, Table 2: perplexity and parameters by hidden size, ACLW-French.
# usage: lightrnn_table2.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_table2 "$@"
sweep experiment=lightrnn/table2 paper.model=lightrnn-200,lightrnn-600,lightrnn-1000
report
