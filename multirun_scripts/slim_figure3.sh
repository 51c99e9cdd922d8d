#!/usr/bin/env bash
# Slim Embedding, Figure 3: the input compressed to 1/8, K from 1 to the number of units, random and hashed.
# usage: slim_figure3.sh [override ...]
. "$(dirname "$0")/_table.sh"
begin slim_figure3 "$@"
parts=1,2,4,8,16,32,64,128
[ "$scale" = small ] || parts+=,256,512
sweep experiment=slim/figure3 paper.model=ne,hashed
sweep experiment=slim/figure3 paper.model=se "paper.parts=$parts"
report
