#!/usr/bin/env bash
# Slim Embedding, Table 5: single models on BillionW; LightRNN's row is that of its own Table 4.
# Rows whose architecture is not here (IRNN, MaxEnt, LSTM with projections, gated convolutions, experts) are left out.
# usage: slim_table5.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_table5 "$@"
sweep experiment=slim/table5_blackout,lightrnn/table4_lightrnn,slim/table5_adaptive_1_layer,\
slim/table5_adaptive_2_layers,slim/table5_se_2_layers_nce,slim/table5_se_3_layers_nce,slim/table5_se_3_layers_is
report
