# Managers that die or fail at a step of what they do; to be sourced by Tests/Kernel/sandboxes.

# killed_at_every_step FAULT VERB DRIVER: the manager dies, or fails, at the first step, at the second, and so on,
# until the verb gets through; each time the next manager has to make something of it.
killed_at_every_step() {
    local fault=$1 verb=$2 driver=$3 step=0 sum status
    while :; do
        step=$((step + 1))
        [ "$step" -lt 60 ] || { echo "it does not come to an end"; return 1; }
        stop; start
        if [ "$verb" != create ]; then
            create a "\"driver\": \"$driver\""
            scribble a 4
            sum=$(digest "$(device a)")
            [ "$verb" != resume ] || verb a pause
        fi
        stop
        start --sandbox-fault "$step:$fault" || { [ "$fault" = kill ]; start; }
        status=0
        case $verb in
            create) create a "\"driver\": \"$driver\"" || status=$? ;;
            rm) remove a || status=$? ;;
            flatten) api POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/flat\"}" || status=$? ;;
            fork) api POST /v1/sandboxes/a/fork '{"target": "b"}' || status=$? ;;
            *) verb a "$verb" || status=$? ;;
        esac
        echo "$verb, step $step: status $status"
        stop; start
        case $verb in
            # Either there, whole, or not at all.
            create) is_gone a || equal "the state" "$(state a)" running ;;
            rm) is_gone a || { equal "the content" "$(digest "$(device a)")" "$sum"; } ;;
            *)
                [ "$(state a)" != running ] || equal "the content" "$(digest "$(device a)")" "$sum"
                state_is a paused || state_is a running
                verb a resume
                equal "the content" "$(digest "$(device a)")" "$sum" ;;
        esac
        if [ "$verb" = flatten ] && [ -e "$scratch/flat" ]; then
            equal "the flat file" "$(digest "$scratch/flat")" "$sum"
            rm "$scratch/flat"
        fi
        if [ "$verb" = fork ] && ! is_gone b; then
            verb b resume
            equal "the fork" "$(digest "$(device b)")" "$sum"
            remove b
        fi
        remove a
        nothing_is_left
        [ "$status" -ne 0 ] || break
    done
    echo "$step steps"
}

# A merge goes on where it was.
killed_while_merging() {
    local step=0 sum status
    while :; do
        step=$((step + 1))
        [ "$step" -lt 40 ] || { echo "it does not come to an end"; return 1; }
        cp "$base" "$scratch/own"
        stop; start
        api POST /v1/sandboxes "{\"name\": \"m\", \"base\": \"$scratch/own\"}" > /dev/null
        scribble m 7
        sum=$(digest "$(device m)")
        stop
        start --sandbox-fault "$step:kill" || start
        status=0
        api POST /v1/sandboxes/m/merge || status=$?
        stop; start
        # Begun, it is at its end now; not begun, it is as it was.
        if ! is_gone m; then
            verb m resume
            equal "the content" "$(digest "$(device m)")" "$sum"
            remove m
        else
            equal "the base" "$(digest "$scratch/own")" "$sum"
        fi
        nothing_is_left
        rm "$scratch/own"
        [ "$status" -ne 0 ] || break
    done
    echo "$step steps"
}
