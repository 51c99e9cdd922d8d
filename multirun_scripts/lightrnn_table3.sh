#!/usr/bin/env bash
# LightRNN, Table 3: training time and the share of reallocation, compared with C-HSM (ACLW-French) and HSM (BillionW).
# usage: [LIGHTRNN_ACLW=FOLDER LIGHTRNN_BILLIONW=FOLDER] lightrnn_table3.sh [override ...]
# The folders are the data.root of data=aclw and of data=billionw; without them, their archives are read.
. "$(dirname "$0")/_table.sh"
begin lightrnn_table3 "$@"
sweep experiment=lightrnn/table5_c_hsm,lightrnn/table5_lightrnn,lightrnn/table4_hsm,lightrnn/table4_lightrnn \
    paper.table=lightrnn_table3
report
