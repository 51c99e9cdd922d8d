#!/usr/bin/env bash
# Does moving words pay?  usage: ptb_reallocation.sh FOLDER_WITH_train.txt_valid.txt_test.txt [override ...]
set -euo pipefail
data=$1
shift
lightrnn-train -m experiment=lightrnn/ptb allocation=random,cooccurrence solver=alternating,keep \
    data.train="$data/train.txt" data.valid="$data/valid.txt" data.test="$data/test.txt" "$@"
