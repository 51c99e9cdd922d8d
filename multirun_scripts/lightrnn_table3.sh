#!/usr/bin/env bash
# LightRNN, Table 3: hours of training, and the share of them that reallocation takes, beside C-HSM and HSM.
# usage: lightrnn_table3.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin lightrnn_table3 "$@"
sweep experiment=lightrnn/table3_c_hsm_aclw,lightrnn/table3_lightrnn_aclw,\
lightrnn/table3_hsm_billionw,lightrnn/table3_lightrnn_billionw
report
