#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# console_test.sh EXAMPLES_DIR [PTY_DRIVER]: a user at a real terminal, and scripts without one, run
# the console example; as root also for uid 1000.
set -u
shopt -s extglob

examples=${1:?usage: console_test.sh EXAMPLES_DIR [PTY_DRIVER]}
driver=${2:-$examples/../tests/pty_driver}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
passed=0 failed=0 skipped=0

# uid 1000 may not be able to reach the build directory.
cp "$examples/console" "$work/console" && cp "$driver" "$work/pty_driver" || exit 1
chmod 755 "$work"

ok() {
    echo "ok $user: $1"
    passed=$((passed + 1))
}

fail() {
    echo "FAIL $user: $1: $2"
    failed=$((failed + 1))
}

# check NAME EXPECTED SEEN
check() {
    if [[ $2 == "$3" ]]; then
        ok "$1"
    else
        fail "$1" "expected \"$2\", seen \"$3\""
    fi
}

# matches NAME PATTERN SEEN
matches() {
    # shellcheck disable=SC2053
    if [[ $3 == $2 ]]; then
        ok "$1"
    else
        fail "$1" "expected \"$2\", seen \"$3\""
    fi
}

# scenario NAME: what stands on standard input, in an interactive shell at a terminal.
scenario() {
    local seen
    if seen=$("${as[@]}" env -i PATH="$PATH" HOME="$dir" TERM=dumb PS1='[\h]$ ' \
        "$work/pty_driver" bash --noprofile --norc); then
        ok "$1"
    else
        fail "$1" "${seen//$'\n'/; }"
    fi
}

# console ARGUMENT...: without a terminal, ended if it hangs.
console() {
    timeout --kill-after=5 20 "${as[@]}" env -i PATH="$PATH" TERM=dumb PS1="# " "$work/console" "$@"
}

# A command that only this run has; a digit is added to tell one case from another.
mark="sleep 987.$$"

# A step's command: waits until the process that is to get a signal runs.
running='timeout 10 sh -c "until pgrep -r S -f \"^\$0\" >/dev/null; do sleep 0.1; done"'

# gone NAME MARK: waits until no process has arguments that begin with MARK.
gone() {
    local i left
    for ((i = 0; i < 50; ++i)); do
        left=$(pgrep -a -f -- "^$2") || break
        sleep 0.1
    done
    check "$1" '' "$left"
}

at_a_terminal() {
    local outer
    outer=$(hostname)

    scenario 'the terminal inside is another one, of the same size' <<END
expect [$outer]$ 
send tty >$dir/outer; $work/console tty >$dir/inner; echo "code \$?"\r
expect code 0
shell grep -q ^/dev/pts/ $dir/inner
shell ! cmp -s $dir/outer $dir/inner
send stty rows 33 cols 99; $work/console stty size\r
expect \r\x0a33 99\r\x0a
END

    scenario 'a resize reaches the inside' <<END
expect [$outer]$ 
send $work/console bash --norc\r
expect [console]$ 
send stty size; trap 'echo si''gnalled' WINCH\r
expect 24 80
expect [console]$ 
resize 41 133
expect signalled
send stty size\r
expect 41 133
END

    scenario 'job control works inside' <<END
expect [$outer]$ 
send $work/console bash --norc\r
expect [console]$ 
send ${mark}5; echo "stopped \$?"\r
shell $running "${mark}5"
send \x1a
expect Stopped
expect stopped 148
send jobs\r
expect [1]+  Stopped
send fg\r
expect fg\r\x0a${mark}5
shell $running "${mark}5"
send \x03
expect [console]$ 
send echo "ended \$?"\r
expect \r\x0aended 130
END

    scenario '^C ends the program inside, not the console' <<END
expect [$outer]$ 
send $work/console ${mark}6; echo "code \$?"\r
shell $running "${mark}6"
send \x03
expect code 130
expect [$outer]$ 
send $work/console bash -c 'trap "echo cau""ght" INT; echo re''ady; read x; echo "read \$x"' ${mark}8; echo "code \$?"\r
expect ready
shell $running "bash -c trap.*${mark}8"
send \x03
expect caught
send two\r
expect read two
expect code 0
END

    scenario '^Z does nothing to a program that no shell could continue' <<END
expect [$outer]$ 
send $work/console sh -c 'echo re''ady; read x; echo "read \$x"'\r
expect ready
send \x1aword\r
expect word\r\x0a
expect word
expect [$outer]$ 
END

    scenario 'the exit code comes out' <<END
expect [$outer]$ 
send $work/console bash --norc; echo "code \$?"\r
expect [console]$ 
send exit 77\r
expect code 77
send $work/console sh -c 'kill -9 \$\$'; echo "code \$?"\r
expect code 137
END

    scenario 'the outer terminal is raw meanwhile, and afterwards as it was' <<END
expect [$outer]$ 
send tty >$dir/outer; stty erase ^H werase undef -ixon; stty -g >$dir/before\r
expect [$outer]$ 
send $work/console sh -c 'echo re''ady; read x'; stty -g >$dir/after; echo don''e\r
expect ready
shell stty -g <\$(cat $dir/outer) >$dir/meanwhile
shell ! cmp -s $dir/before $dir/meanwhile
send \r
expect done
shell cmp $dir/before $dir/after
END

    scenario 'the inner terminal has the keys of the outer one' <<END
expect [$outer]$ 
send stty erase ^H; $work/console stty -a\r
expect erase = ^H
END

    scenario '100 kB of any bytes pass unchanged in both directions' <<END
expect [$outer]$ 
send $work/console sh -c 'stty raw -echo; printf re''ady; exec cat'\r
expect ready
bytes 100000
END

    scenario 'a closed terminal ends the inside' <<END
expect [$outer]$ 
send $work/console sh -c 'echo re''ady; trap "" HUP; ${mark}1 & ${mark}1'\r
expect ready
hangup
END
    gone 'nothing is left behind a closed terminal' "${mark}1"
}

# Who is told that the terminal inside is gone. The scripts are files, for no shell but one reads the
# quotes then.
hang_ups() {
    local outer told
    outer=$(hostname) told="timeout 10 sh -c 'until test -s \$0; do sleep 0.1; done'"
    cat >"$dir/command" <<END
trap 'sleep 0.3; echo told >$dir/\$1; exit' HUP
echo re""ady
while :; do sleep 0.1; done
END
    cat >"$dir/shell" <<END
sh $dir/command \$1
exit
END
    scenario 'a closed terminal: the command is told, and has time' <<END
expect [$outer]$ 
send $work/console sh $dir/command closed\r
expect ready
hangup
shell $told $dir/closed
END
    scenario 'SIGTERM: the command is told, and has time' <<END
expect [$outer]$ 
send sh -c 'echo \$\$ >$dir/pid; exec $work/console sh $dir/command ended'; echo "code \$?"\r
expect ready
shell kill \$(cat $dir/pid)
expect code 143
shell test -s $dir/ended
END
    scenario 'the job of a shell that ends by the hang-up is told, and has time' <<END
expect [$outer]$ 
send $work/console sh $dir/shell job\r
expect ready
hangup
shell $told $dir/job
END
    scenario 'an interactive shell passes it on to its jobs' <<END
expect [$outer]$ 
send $work/console bash --norc\r
expect [console]$ 
send sh $dir/command background &\r
expect ready
send sh $dir/command foreground\r
expect ready
hangup
shell $told $dir/foreground
shell $told $dir/background
END
    mkfifo "$dir/silent"
    check 'without a terminal too' told "$(
        "${as[@]}" "$work/console" sh "$dir/command" none <>"$dir/silent" >"$dir/out" &
        timeout 10 sh -c "until grep -q ready $dir/out; do sleep 0.1; done"
        kill $!
        wait $! 2>/dev/null
        cat "$dir/none")"
    # shellcheck disable=SC2016
    check 'the command leads the session of the terminal, in the foreground' '2 2 2' \
        "$(console sh -c 'set -- $(ps -o sid= -o pgid= -o tpgid= -p $$); echo $*' </dev/null)"
}

by_signals() {
    local outer signal
    outer=$(hostname)
    for signal in TERM HUP INT QUIT USR1 ALRM; do
        scenario "SIG$signal ends it, the terminal is as it was" <<END
expect [$outer]$ 
send ulimit -c 0; stty erase ^H; stty -g >$dir/before\r
expect [$outer]$ 
send sh -c 'echo \$\$ >$dir/pid; exec $work/console sh -c "echo re""ady; ${mark}2"'\r
expect ready
shell kill -$signal \$(cat $dir/pid)
expect [$outer]$ 
send echo "code \$?"; stty -g >$dir/after; echo don''e\r
expect code $((128 + $(kill -l $signal)))
expect done
shell cmp $dir/before $dir/after
END
    done
    gone 'the signals leave nothing behind' "${mark}2"

    scenario 'a signal that was ignored when it started stays ignored' <<END
expect [$outer]$ 
send sh -c 'echo \$\$ >$dir/pid; trap "" HUP; exec $work/console sh -c "echo re""ady; cat"'\r
expect ready
shell kill -HUP \$(cat $dir/pid)
shell sleep 0.3
send word\r
expect word\r\x0aword\r\x0a
send \x04
expect [$outer]$ 
END

    scenario 'stopped from outside, it gives the terminal back; continued, it takes it again' <<END
expect [$outer]$ 
send tty >$dir/outer; stty erase ^H; stty -g >$dir/before\r
expect [$outer]$ 
send sh -c 'echo \$\$ >$dir/pid; exec $work/console bash --norc'; stty -g >$dir/stopped\r
expect [console]$ 
shell kill -TSTP \$(cat $dir/pid)
expect Stopped
expect [$outer]$ 
shell cmp $dir/before $dir/stopped
send fg\r
expect console
send hostname; ${mark}7\r
expect \r\x0aconsole\r\x0a
shell ! stty -g <\$(cat $dir/outer) | cmp -s - $dir/before
shell $running "${mark}7"
send \x03
expect [console]$ 
send exit 6\r
expect [$outer]$ 
send echo "code \$?"; stty -g >$dir/after; echo don''e\r
expect code 6
expect done
shell cmp $dir/before $dir/after
END

    scenario 'started in the background, it waits until it is in the foreground' <<END
expect [$outer]$ 
send $work/console bash --norc &\r
expect [$outer]$ 
shell sleep 0.3
send \r
expect Stopped
expect [$outer]$ 
send fg\r
expect bash --norc
send \r
expect [console]$ 
send exit 8\r
expect [$outer]$ 
send echo "code \$?"\r
expect code 8
END

    scenario 'killed, it takes the inside with it' <<END
expect [$outer]$ 
send sh -c 'echo \$\$ >$dir/pid; exec $work/console sh -c "echo re""ady; trap \\"\\" HUP; ${mark}3"'\r
expect ready
shell kill -KILL \$(cat $dir/pid)
expect Killed
END
    gone 'SIGKILL leaves nothing behind' "${mark}3"
}

# letters COUNT: that many bytes, no line.
letters() {
    seq 100000 | tr -d '\n' | head -c "$1"
}

# arrives NAME FILE COMMAND: the file reaches the command, which copies it, and then its end.
arrives() {
    local said
    said=$(console sh -c "$3 >$dir/arrived; echo end" <"$2")
    check "$1" 'end' "$said$(cmp "$2" "$dir/arrived" 2>&1)"
}

# The kernel keeps 4095 bytes of a line that is edited; longer ones come in pieces of 4000.
long_lines() {
    local size
    letters 100000 >"$dir/line"
    arrives 'a line of 100 kB, without an end' "$dir/line" cat
    for size in 64 500 4000; do
        arrives "a line of 100 kB, read by $size bytes" "$dir/line" "dd bs=$size status=none"
    done
    # shellcheck disable=SC2016
    arrives 'a line of 100 kB, read slowly' "$dir/line" \
        'sleep 0.3; while x=$(dd bs=9000 count=1 status=none); [ "$x" ]; do printf %s "$x"; sleep 0.02; done'
    for size in 3999 4000 4001 4095 4096 8000; do
        letters "$size" >"$dir/line"
        arrives "a line of $size bytes, without an end" "$dir/line" cat
    done
    letters 5000 >"$dir/line"
    arrives 'a line of 5 kB, read by single bytes' "$dir/line" 'dd bs=1 status=none'
    for size in {3996..4004} {4090..4100} {7996..8004} 50000; do
        letters "$size" && echo
    done >"$dir/lines"
    arrives 'many long lines' "$dir/lines" cat
    head -c 20000 /dev/zero >"$dir/line"
    arrives '20 kB of zeros' "$dir/line" cat

    # ^U makes the line empty, where a piece would end; ^V makes its end a byte like others.
    check 'a key where a piece ends' $'y\nz' \
        "$({ letters 3999; printf '\025y\nz\n'; } | console cat)"
    check 'a quoted end of a line' 6001 \
        "$({ letters 3000; printf '\026\n'; letters 3000; } | console wc -c)"

    # The terminal's mode changes back and forth.
    letters 10000 >"$dir/line" && echo >>"$dir/line"
    {
        echo 'stty -echo'
        printf 'x=' && cat "$dir/line"
        echo "head -n 1 >$dir/read" && cat "$dir/line"
        echo "echo \"\$x\" >$dir/value"
    } | console bash --norc >/dev/null 2>&1
    check 'a long line to a shell that edits lines' '' "$(cmp "$dir/line" "$dir/value" 2>&1)"
    check 'and one to a program that it runs' '' "$(cmp "$dir/line" "$dir/read" 2>&1)"
}

without_a_terminal() {
    local seen
    seen=$(console sh -c 'tty; cat; exit 5' < <(printf 'a\nb\n'); echo "code $?")
    matches 'input from a pipe' $'/dev/pts/+([0-9])\na\nb\ncode 5' "$seen"

    check 'input without a last newline' 'abc' "$(printf abc | console cat)"
    check 'no input' 'end' "$(console sh -c 'cat; echo end' </dev/null)"
    check 'closed input' 'end' "$(console sh -c 'cat; echo end' <&-)"
    seen=$(printf 'hostname\n(exit 3)\n' | console bash --norc 2>&1; echo "code $?")
    matches 'a shell that edits lines sees the end of the input' '*# console*code 3' "$seen"
    check 'each reader sees the end of the input' 'end' \
        "$(console sh -c 'cat; cat; read x; cat; echo end' </dev/null)"

    seq 30000 >"$dir/lines"
    console cat <"$dir/lines" >"$dir/copy"
    check '169 kB of lines from a file to a file' '' "$(cmp "$dir/lines" "$dir/copy" 2>&1)"

    long_lines

    # A pipe and the relay hold a little less.
    check 'no output is lost at the end, when its reader is slow' 71000 \
        "$(console sh -c "head -c 71000 /dev/zero; touch $dir/written" </dev/null | {
            timeout 10 sh -c "until test -e $dir/written; do sleep 0.1; done"
            sleep 0.3
            wc -c
        })"
    check 'a reader that goes ends it' "$((128 + 13))" \
        "$(console sh -c 'trap "" HUP; while :; do echo y; done' </dev/null |
            head -n 1 >/dev/null; echo "${PIPESTATUS[0]}")"

    check 'with SIGCHLD ignored, the exit code comes out too' 5 \
        "$(trap '' CHLD; console sh -c 'exit 5' </dev/null; echo $?)"
    check 'an unknown command' '127' \
        "$(console /no/such/command </dev/null >/dev/null 2>&1; echo $?)"
    check 'what is no program' '126' "$(console /etc/passwd </dev/null >/dev/null 2>&1; echo $?)"
}

the_inside() {
    local kind seen before mounts
    before=$(hostname) mounts=$(grep ' /proc ' /proc/self/mountinfo)
    seen=$(console sh -c 'cd /proc/self/ns; for kind in *; do readlink $kind; done' </dev/null)
    for kind in user mnt pid net ipc uts cgroup; do
        matches "a new $kind" "*$kind:\[+([0-9])\]*" \
            "${seen/"$(readlink "/proc/self/ns/$kind")"/the same}"
    done
    check 'root inside' '0 0' "$(console sh -c 'echo $(id -u) $(id -g)' </dev/null)"
    check 'mapped to the caller' "0 $("${as[@]}" id -u) 1" \
        "$(console sh -c 'set -- $(cat /proc/self/uid_map); echo $*' </dev/null)"
    check 'a fresh /proc' '1 2' \
        "$(console sh -c 'cd /proc; echo [0-9]*; :' </dev/null)"
    check 'its own host name' 'tower' "$(console --hostname tower hostname </dev/null)"
    check 'orphans end with the command' 'out' \
        "$(console sh -c "setsid ${mark}4 & echo out" </dev/null)"
    gone 'no orphan is left behind' "${mark}4"
    # shellcheck disable=SC2012,SC2217
    check 'no descriptor of the console is left open inside' \
        "$(ls -C /proc/self/fd </dev/null | tr -s ' ')" \
        "$(console ls -C /proc/self/fd </dev/null | tr -s ' ')"
    check 'nor in pid 1' '0 1 2' "$(console ls -C /proc/1/fd </dev/null | tr -s ' ')"
    check 'the host name outside is as it was' "$before" "$(hostname)"
    check '/proc outside is as it was' "$mounts" "$(grep ' /proc ' /proc/self/mountinfo)"
}

messages() {
    local seen
    seen=$(console --explain touch "$dir/touched" </dev/null; echo "code $?")
    matches 'it explains the plan' '*create user*create mnt*set the uid*code 0' "$seen"
    check 'and does nothing' '' "$(ls "$dir/touched" 2>/dev/null)"
    seen=$(console --help </dev/null; echo "code $?")
    matches 'help' 'usage:*code 0' "$seen"
    seen=$(console --no-such </dev/null 2>&1; echo "code $?")
    matches 'an unknown option' '*no-such*usage:*code 1' "$seen"
    # shellcheck disable=SC2016
    seen=$("${as[@]}" unshare --user --map-root-user --mount sh -c \
        'mount -t tmpfs covers /proc/sys; "$0" true; "$0" --host-proc echo runs' "$work/console" \
        2>&1 </dev/null)
    matches 'a /proc that is covered: why, and what to do' \
        $'console: mount (/proc): EPERM: *--host-proc?(\r)\nruns' "$seen"
    # shellcheck disable=SC2016
    seen=$("${as[@]}" unshare --user --map-root-user --mount sh -c \
        'echo 0 >/proc/sys/user/max_user_namespaces; exec "$0" true' "$work/console" \
        2>&1 </dev/null; echo "code $?")
    matches 'a namespace that is refused, in one line' \
        $'console: create user*: ENOSPC: +([^\n])/proc/sys/user*([^\n])\ncode 1' "$seen"
}

all_as() {
    user=$1 dir=$work/$1
    shift
    as=("$@")
    mkdir "$dir" && chmod 777 "$dir"
    if ! "${as[@]}" unshare --user --map-root-user true 2>"$dir/why"; then
        echo "SKIP: $user may make no user namespace: $(cat "$dir/why")"
        skipped=$((skipped + 1))
        return
    fi
    at_a_terminal
    hang_ups
    by_signals
    without_a_terminal
    the_inside
    messages
}

all_as "uid-$(id -u)"
if [[ $(id -u) == 0 ]]; then
    all_as uid-1000 setpriv --reuid 1000 --regid 1000 --clear-groups --
else
    echo 'SKIP: uid-1000: only root can become it'
    skipped=$((skipped + 1))
fi
echo "$passed passed, $failed failed, $skipped skipped"
[[ $failed == 0 ]]
