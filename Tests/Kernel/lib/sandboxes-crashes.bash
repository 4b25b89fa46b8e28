# Managers that die or fail at a step of what they do; to be sourced by Tests/Kernel/sandboxes.

# chance NUMBER WORDS...: one of that many numbers, from 0 on, the same with the same ASHLAR_SEED.
chance() { echo $(($(cksum <<< "$ASHLAR_SEED ${*:2}" | cut -d ' ' -f 1) % $1)); }

# some_of WORD CHOICE...: all of them; without ASHLAR_LONG=1 one.
some_of() {
    local word=$1 choices=("${@:2}")
    if [ "${ASHLAR_LONG:-0}" = 1 ]; then echo "${choices[@]}"; else echo "${choices[$(chance "${#choices[@]}" "$word")]}"; fi
}

# at_every_step FAULT BODY...: runs a body for the first step, for the second, and so on, until a manager gets through
# what it is asked for without coming to that step. Without ASHLAR_LONG=1 it is one step, which ASHLAR_SEED chooses.
at_every_step() {
    local fault=$1 step=1
    shift
    [ "${ASHLAR_LONG:-0}" = 1 ] || step=$(($(chance 10 "$fault $*") + 1))
    while :; do
        [ "$step" -lt 80 ] || { echo "it does not come to an end"; return 1; }
        "$@" "$step:$fault"
        nothing_is_left
        if grep -o "the fault at step $step: .*" "$scratch/fault.log"; then
            [ "${ASHLAR_LONG:-0}" = 1 ] || return 0
            step=$((step + 1))
        elif [ "${ASHLAR_LONG:-0}" = 1 ]; then
            echo "not taken: step $step"
            return 0
        else
            # It has fewer of them.
            step=$((step / 2))
            [ "$step" -gt 0 ] || { echo "it has no step"; return 1; }
        fi
    done
}

# ask_with FAULT COMMAND...: asks a manager that comes to a fault; sets $status and $taken. If the manager dies there is
# the next one afterwards. One that is to fail goes on: nothing may depend on a new one.
ask_with() {
    local fault=$1
    shift
    : > "$ASHLAR_ROOT/ashlard.log"
    echo -n "$fault" > "$scratch/fault"
    status=0
    "$@" || status=$?
    rm -f "$scratch/fault"
    cp "$ASHLAR_ROOT/ashlard.log" "$scratch/fault.log"
    taken=
    ! grep -q "the fault at step" "$scratch/fault.log" || taken=1
    # A step that fails is an error, and an error is one of a step.
    [ -n "$taken" ] || [ "$status" -eq 0 ] || { echo "it failed without a fault"; return 1; }
    [ -z "$taken" ] || [ "$status" -ne 0 ] || { echo "it succeeded all the same"; return 1; }
    [ -n "$taken" ] && [[ $fault = *:kill ]] || return 0
    # W6, W8: what nobody stands on goes with the dead manager, before anybody has read its journal.
    wait_until no_loop_is_alone
    start
}

# Each loop device has a device on it.
no_loop_is_alone() {
    local loop
    for loop in /sys/block/loop*/loop; do
        [ ! -e "$loop" ] || [ -n "$(ls "${loop%/loop}/holders")" ] || return 1
    done
}

# is_settled NAME: nothing is being done to it.
is_settled() {
    case $(state "$1") in running | paused) ;; *) return 1 ;; esac
}

# interrupted VERB DRIVER FAULT: one life of a sandbox, in which a verb is interrupted.
interrupted() {
    local verb=$1 driver=$2 fault=$3 sum= status taken
    if [ "$verb" != create ]; then
        create a "\"driver\": \"$driver\""
        scribble a 4
        sum=$(digest "$(device a)")
        [ "$verb" != resume ] || verb a pause
    fi
    case $verb in
        create) ask_with "$fault" create a "\"driver\": \"$driver\"" ;;
        rm) ask_with "$fault" remove a ;;
        flatten) ask_with "$fault" api POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/flat\"}" ;;
        fork) ask_with "$fault" api POST /v1/sandboxes/a/fork '{"target": "b"}' ;;
        *) ask_with "$fault" verb a "$verb" ;;
    esac
    case $verb in
        # Either there, whole, or not at all.
        create)
            [ -n "$taken" ] || state_is a running
            [ -z "$taken" ] || is_gone a || state_is a running
            is_gone a || equal "the content" "$(digest "$(device a)")" "$(cat "$scratch/base.sum")" ;;
        # What was begun comes to its end.
        rm) is_gone a || state_is a running || wait_until is_gone a
            is_gone a || equal "the content" "$(digest "$(device a)")" "$sum" ;;
        *) wait_until is_settled a
            if state_is a running; then
                equal "the content" "$(digest "$(device a)")" "$sum"
            else
                equal "devices of a paused one" "$(dmsetup ls)" "No devices found"
            fi
            verb a resume
            equal "the content" "$(digest "$(device a)")" "$sum" ;;
    esac
    [ "$verb" != flatten ] || flat_file_is "$sum"
    [ "$verb" != fork ] || fork_is "$sum"
    remove a
}

# flat_file_is SUM: it is whole, or not there; and nothing of an unfinished one is.
flat_file_is() {
    equal "what is left of it" "$(find "$scratch" -maxdepth 1 -name '*.partial')" ""
    if [ -e "$scratch/flat" ]; then
        equal "the flat file" "$(digest "$scratch/flat")" "$1"
        rm "$scratch/flat"
    elif [ -z "$taken" ]; then
        echo "there is no flat file"
        return 1
    fi
}

fork_is() {
    if is_gone b; then
        [ -n "$taken" ] || { echo "there is no fork"; return 1; }
        return 0
    fi
    verb b resume
    equal "the fork" "$(digest "$(device b)")" "$1"
    remove b
}

# A merge goes on where it was.
interrupted_merge() {
    local sum status taken
    cp "$base" "$scratch/own"
    api POST /v1/sandboxes "{\"name\": \"m\", \"base\": \"$scratch/own\"}" > /dev/null
    scribble m 7
    sum=$(digest "$(device m)")
    ask_with "$1" verb m merge
    # Begun, a dead manager's successor has brought it to its end; one that has failed is asked again.
    has_come_to_rest() { is_gone m || is_settled m || state_is m merging; }
    wait_until has_come_to_rest
    if ! is_gone m; then
        if is_settled m; then
            verb m resume
            equal "the content" "$(digest "$(device m)")" "$sum"
        fi
        verb m merge
    fi
    is_gone m
    equal "the base" "$(digest "$scratch/own")" "$sum"
    rm "$scratch/own"
}

# A copy in a pool that was read when the manager died takes nothing of what the sandbox can write.
dead_reader_takes_no_room() {
    local sum status taken
    create a '"driver": "thin"'
    dd if=/dev/urandom of="$(device a)" bs=1M count="$megabytes" oflag=direct status=none
    ask_with read:kill api POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/flat\"}"
    [ -n "$taken" ]
    dd if=/dev/urandom of="$(device a)" bs=1M count="$megabytes" oflag=direct status=none
    sum=$(digest "$(device a)")
    ask_with "rename:kill" api POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/flat\"}"
    [ -n "$taken" ]
    dd if=/dev/urandom of="$(device a)" bs=1M count="$megabytes" oflag=direct status=none
    [ "$(digest "$(device a)")" != "$sum" ]
    remove a
    nothing_is_left
}

# The manager dies while it reads a sandbox with a quota, whose writers wait: they go on with the next one.
dead_reader_lets_writers_go() {
    local sum status taken step
    create q "\"quota\": $((megabytes << 20))"
    scribble q 3
    for step in "base loop" disk check rename; do
        sum=$(digest "$(device q)")
        ask_with "$step:kill" api POST /v1/sandboxes/q/flatten "{\"target\": \"$scratch/flat\"}"
        [ -n "$taken" ] || { echo "there is no step $step"; return 1; }
        equal "the state" "$(state q)" running
        equal "the content" "$(digest "$(device q)")" "$sum"
        scribble q 4
        equal "devices" "$(dmsetup ls | cut -f 1 | grep -vc pool)" 1
        equal "files" "$(find "$scratch" -maxdepth 1 -name 'flat*')" ""
    done
    remove q
    nothing_is_left
}
