# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
# For the scripts that keep who started them waiting: . progress.sh

# how_far LOG: until it is ended, or its script is: says on standard error how far ninja is whose
# output is in LOG, or how long it has taken; on a terminal in one line, elsewhere four times a minute.
how_far() {
    local far began=$SECONDS
    while sleep 1 && kill -0 $$ 2>/dev/null; do
        far=$(tail -c 4096 "$1" | sed -nE 's/^\[([0-9]+)\/([0-9]+)\].*/\1 of \2, /p' | tail -n 1)
        if [[ -t 2 ]]; then
            printf '\r\033[K    %s%d s' "$far" $((SECONDS - began))
        elif (((SECONDS - began) % 15 == 0)); then
            printf '    %s%d s\n' "$far" $((SECONDS - began))
        fi
    done >&2
}

# watched LOG COMMAND...: runs it with its output in LOG, and says how far it is.
watched() {
    local log=$1 ticker code=0
    shift
    : >"$log"
    how_far "$log" &
    ticker=$!
    "$@" >"$log" 2>&1 </dev/null || code=$?
    kill "$ticker"
    wait "$ticker" 2>/dev/null
    [[ ! -t 2 ]] || printf '\r\033[K' >&2
    return "$code"
}
