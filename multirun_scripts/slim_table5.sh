#!/usr/bin/env bash
# Slim Embedding, Table 5: single models on BillionW. The LightRNN and BlackOut rows are those of LightRNN's Table 4.
# Other architectures are omitted: IRNN, MaxEnt, LSTM with projections, gated convolutions, mixture of experts.
# usage: slim_table5.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_table5 "$@"
sweep experiment=slim/table5 \
    paper.model=adaptive-1,adaptive-2,se-2-layers-nce,se-3-layers-nce,se-3-layers-is
sweep experiment=lightrnn/table4_b_rnn paper.table=slim_table5
sweep experiment=lightrnn/table4_lightrnn
report
