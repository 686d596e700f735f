#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# box_test.sh EXAMPLES_DIR: what a command finds in the box example, as root also for uid 1000.
set -u
shopt -s extglob

examples=${1:?usage: box_test.sh EXAMPLES_DIR}
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0

# uid 1000 may not be able to reach the build directory.
mkdir -p "$scratch"/files/{bin,proc,tmp} && cp "$examples/box" "$scratch/box" &&
    cp /bin/busybox "$scratch/files/bin/busybox" || exit 1
for name in sh ls id hostname ps mkdir mount ping cat nc sleep; do
    ln -s busybox "$scratch/files/bin/$name"
done
chmod 755 "$scratch"

# matches NAME PATTERN SEEN
matches() {
    # shellcheck disable=SC2053
    if [[ $3 == $2 ]]; then
        echo "ok $user: $1"
        passed=$((passed + 1))
    else
        echo "FAIL $user: $1: expected \"$2\", seen \"$3\""
        failed=$((failed + 1))
    fi
}

# inside SCRIPT: what a shell in the box writes, and its exit code.
inside() {
    "${as[@]}" "$scratch/box" "$scratch/files" sh -c "$1" 2>&1
    echo "exit $?"
}

tests() {
    matches "the root is that directory" $'bin proc tmp\nexit 0' "$(inside 'cd /; echo *')"
    matches "nothing else is mounted" $'/ /proc\nexit 0' \
        "$(inside 'while read -r a b c d where e; do echo -n "$where "; done </proc/self/mountinfo' | sed 's/ exit/\nexit/')"
    matches "it is the first process, of few" $'1 [12]\nexit 0' \
        "$(inside 'set -- /proc/[0-9]*; echo $$ $#')"
    matches "it is root of nothing" $'0 0\nexit 0' "$(inside 'echo $(id -u) $(id -g)')"
    matches "it has no capability" $'0000000000000000 0000000000000000 0000000000000000 0000000000000000 0000000000000000\nexit 0' \
        "$(inside 'set --; while read -r name value; do case $name in Cap*) set -- "$@" $value;; esac; done </proc/self/status; echo "$@"')"
    matches "the host has a name" $'box\nexit 0' "$(inside hostname)"
    matches "the host can't be named again" $'*ot permitted*\nexit 1' "$(inside 'hostname other')"
    matches "nothing can be mounted" $'*ermission denied*\nexit [1-9]*' \
        "$(inside 'mount -t tmpfs none /tmp')"
    matches "the loopback interface is up" $'*lo\nexit 0' "$(inside 'cat /proc/net/if_inet6')"
    matches "no descriptor is there that nobody named" $'closed\nexit 0' \
        "$(inside '[ -e /proc/1/fd/9 ] || echo closed' 9</)"
    matches "its exit code" $'exit 7' "$(inside 'exit 7')"
    matches "a process that a signal ends" $'*exit 137' "$(inside 'sh -c "kill -9 \$\$"; exit $?')"
    matches "no such command" $'box: execute the program (nowhere): ENOENT: *\n1' \
        "$("${as[@]}" "$scratch/box" "$scratch/files" nowhere 2>&1; echo $?)"
    matches "no such root" $'box: change the root mount (/nowhere): ENOENT: *\n1' \
        "$("${as[@]}" "$scratch/box" /nowhere sh 2>&1; echo $?)"
    matches "--explain says all of it" \
        "*change the root mount*mount /proc*detach the old root*set the capabilities*set no_new_privs*" \
        "$("${as[@]}" "$scratch/box" --explain "$scratch/files" sh 2>&1)"
    matches "--help" "usage: box *" "$("${as[@]}" "$scratch/box" --help)"
}

user=$(id -un)
as=()
tests
if [[ $(id -u) == 0 ]]; then
    user="uid 1000"
    as=(setpriv --reuid 1000 --regid 1000 --clear-groups)
    tests
fi
echo "$passed passed, $failed failed, 0 skipped"
[[ $failed == 0 ]]
