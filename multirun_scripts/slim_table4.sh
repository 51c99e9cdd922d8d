#!/usr/bin/env bash
# Slim Embedding, Table 4: the six ACLW corpora, beside the rows of LightRNN's Table 5.
# LANGUAGES="czech french" makes some of them; with scale=small one corpus stands for all: LANGUAGES=french.
# usage: slim_table4.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_table4 "$@"
for language in ${LANGUAGES:-spanish french english czech german russian}; do
    sweep "experiment=lightrnn/table5_hsm_$language,lightrnn/table5_c_hsm_$language,lightrnn/table5_lightrnn_$language,\
slim/table4_se_$language"
done
report
