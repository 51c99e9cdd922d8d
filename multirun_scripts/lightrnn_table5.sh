#!/usr/bin/env bash
# LightRNN, Table 5: the six ACLW corpora. LANGUAGES=cs,fr selects some of them.
# usage: lightrnn_table5.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_table5 "$@"
sweep $languages experiment=lightrnn/table5_hsm,lightrnn/table5_c_hsm,lightrnn/table5_lightrnn
report
