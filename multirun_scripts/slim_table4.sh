#!/usr/bin/env bash
# Slim Embedding, Table 4: the six ACLW corpora, with the rows of LightRNN's Table 5. LANGUAGES=cs,fr selects some of
# them.
# usage: slim_table4.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_table4 "$@"
sweep experiment=lightrnn/table5_hsm,lightrnn/table5_c_hsm,lightrnn/table5_lightrnn,slim/table4 $languages
report
