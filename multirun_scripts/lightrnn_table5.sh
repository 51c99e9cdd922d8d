#!/usr/bin/env bash
# LightRNN, Table 5: the six ACLW corpora (with scale=small one corpus stands for all: LANGUAGES=french).
# LANGUAGES="czech french" makes some of them.
# usage: lightrnn_table5.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_table5 "$@"
for language in ${LANGUAGES:-spanish french english czech german russian}; do
    sweep "experiment=lightrnn/table5_hsm_$language,lightrnn/table5_c_hsm_$language,lightrnn/table5_lightrnn_$language"
done
report
