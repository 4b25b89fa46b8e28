# Stores that are damaged, somebody else's, or have no room; to be sourced by Tests/Kernel/sandboxes. docs/device-mapper.md
# lists which failure is which check.

# left_over NAME: an event says that something of a sandbox is left.
left_over() { api GET /v1/sandbox-events | jq -e --arg name "$1" 'any(.[]; .name == $name and .kind == "left")' > "$scratch/said"; }

# W4: another sandbox's store is nobody's to hand on.
stores_are_told_apart() {
    create a
    create b
    scribble a 3
    scribble b 3
    verb a pause
    verb b pause
    cp "$ASHLAR_ROOT/sandbox-b.store" "$scratch/good"
    cp "$ASHLAR_ROOT/sandbox-a.store" "$ASHLAR_ROOT/sandbox-b.store"
    refused conflict "store of another sandbox" POST /v1/sandboxes/b/resume
    refused conflict "store of another sandbox" POST /v1/sandboxes/b/fork '{"target": "c"}'
    refused conflict "store of another sandbox" POST /v1/sandboxes/b/flatten "{\"target\": \"$scratch/flat\"}"
    is_gone c
    # Gone altogether: which one it is, and what can be done.
    mv "$ASHLAR_ROOT/sandbox-b.store" "$scratch/away"
    refused notFound "use the store of b" POST /v1/sandboxes/b/resume
    cp "$scratch/good" "$ASHLAR_ROOT/sandbox-b.store"
    verb b resume
    remove b
    # What is no store any more is removed where only stores are; what is somebody else's stays.
    head -c 4096 /dev/urandom | dd of="$ASHLAR_ROOT/sandbox-a.store" conv=notrunc status=none
    refused corrupt "" POST /v1/sandboxes/a/resume
    remove a
    equal "stores" "$(find "$ASHLAR_ROOT" -name 'sandbox-*.store')" ""
    create a "\"store\": \"$scratch/own\""
    verb a pause
    echo mine > "$scratch/own"
    remove a
    equal "the file" "$(cat "$scratch/own")" mine
    left_over a
    # Asked for the other driver, it is not the same.
    create a
    refused conflict "another one of that name" POST /v1/sandboxes "{\"name\": \"a\", \"base\": \"$base\", \"driver\": \"thin\"}"
    remove a
    rm "$scratch/own" "$scratch/away" "$scratch/good"
    nothing_is_left
}

# gc removes what was never finished, and nothing that only looks like it.
unfinished_stores_go() {
    local mine=$ASHLAR_ROOT/sandbox-mine.new flat=$ASHLAR_ROOT/sandbox-flat.new
    local unfinished=$ASHLAR_ROOT/sandbox-x.store.0123456789abcdef0123456789abcdef.new
    create g "\"store\": \"$mine\""
    scribble g 5
    verb g pause
    api POST /v1/sandboxes/g/flatten "{\"target\": \"$flat\"}" > /dev/null
    echo half > "$unfinished"
    equal "what gc removes" "$(collected)" "file $unfinished"
    verb g resume
    cmp "$flat" "$(device g)"
    remove g
    rm "$flat"
    nothing_is_left
}

# The disk of journal and stores is full: room can be made by removing sandboxes.
removed_on_a_full_disk() {
    local name was=$ASHLAR_ROOT
    stop
    ASHLAR_ROOT=$scratch/full
    mkdir "$ASHLAR_ROOT"
    mount -t tmpfs -o size=6M tmpfs "$ASHLAR_ROOT"
    start
    for name in a b c; do
        create "$name"
        scribble "$name" 4
    done
    verb b pause
    ! dd if=/dev/zero of="$ASHLAR_ROOT/filler" bs=4k status=none 2> "$scratch/said" || { echo "it is not full"; return 1; }
    refused noSpace "" POST /v1/sandboxes "{\"name\": \"d\", \"base\": \"$base\"}"
    verb a pause
    # Again and again, since what is kept is needed more than once.
    for name in {1..20}; do verb b resume; verb b pause; done
    stop
    start
    for name in a b c; do remove "$name"; done
    equal "sandboxes" "$(api GET /v1/sandboxes | jq length)" 0
    equal "stores" "$(find "$ASHLAR_ROOT" -name 'sandbox-*')" ""
    stop
    umount "$ASHLAR_ROOT"
    rmdir "$ASHLAR_ROOT"
    ASHLAR_ROOT=$was
    start
    nothing_is_left
}

# A pool that cannot be used has no way back for those in it, but they can go.
damaged_pool_goes() {
    create a '"driver": "thin"'
    api POST /v1/sandboxes/a/fork '{"target": "b"}' > /dev/null
    verb a pause
    verb b pause
    truncate -s 2M "$ASHLAR_ROOT/sandbox-a.store"
    refused corrupt "is cut short" POST /v1/sandboxes/a/resume
    remove a
    left_over a
    remove b
    nothing_is_left
}

# A merge that cannot go on says why, and can be given up.
merge_is_given_up() {
    local status taken
    cp "$base" "$scratch/own"
    api POST /v1/sandboxes "{\"name\": \"m\", \"base\": \"$scratch/own\"}" > /dev/null
    scribble m 7
    verb m pause
    echo merge:kill > "$scratch/fault"
    ! verb m merge 2> "$scratch/said" || { echo "it was not killed"; return 1; }
    stop
    rm -f "$scratch/fault"
    mv "$scratch/own" "$scratch/moved"
    start
    wait_until merge_has_a_problem
    refused conflict "its merge is not finished" DELETE /v1/sandboxes/m
    api DELETE '/v1/sandboxes/m?force=true' > /dev/null
    left_over m
    rm "$scratch/moved"
    nothing_is_left
}
merge_has_a_problem() { api GET /v1/sandboxes/m | jq -e '.state == "merging" and (.problem // "" | contains("own"))' > "$scratch/said"; }

# The file system under a pool is full: the pool can be used again when there is room, and what it has can be read.
pool_without_room() {
    local sum
    mkdir "$scratch/narrow"
    mount -t tmpfs -o size=16M tmpfs "$scratch/narrow"
    truncate -s 32M "$scratch/wide"
    api POST /v1/sandboxes "{\"name\": \"p\", \"base\": \"$scratch/wide\", \"driver\": \"thin\", \"store\": \"$scratch/narrow/store\"}" > /dev/null
    scribble p 1
    ! dd if=/dev/urandom of="$(device p)" bs=64k seek=4 count=400 oflag=direct conv=notrunc status=none 2> "$scratch/said" ||
        { echo "there was room"; return 1; }
    scribble p 1
    sum=$(digest "$(device p)")
    api POST /v1/sandboxes/p/flatten "{\"target\": \"$scratch/flat\"}" > /dev/null
    equal "the flat file" "$(digest "$scratch/flat")" "$sum"
    rm "$scratch/flat"
    mount -o remount,size=64M "$scratch/narrow"
    verb p pause
    verb p resume
    equal "the content" "$(digest "$(device p)")" "$sum"
    dd if=/dev/urandom of="$(device p)" bs=64k count=400 oflag=direct conv=notrunc status=none
    remove p
    umount "$scratch/narrow"
    rmdir "$scratch/narrow"
    rm "$scratch/wide"
    nothing_is_left
}

# What is read of a sandbox with a quota takes nothing of it, and a fork has one of its own.
reading_takes_no_quota() {
    local pid sum status
    create q "\"quota\": $((megabytes << 20))"
    rewrite() { dd if=/dev/urandom of="$(device "$1")" bs=64k count=$((megabytes * 16 - 16)) oflag=direct conv=notrunc status=none; }
    rewrite q
    sum=$(digest "$(device q)")
    curl -sS --unix-socket "$ASHLAR_RUN/ashlard.sock" http://ashlar/v1/sandboxes/q/flatten -d "{\"target\": \"$scratch/flat\"}" \
        > "$scratch/answer" & pid=$!
    flat_is_begun() { compgen -G "$scratch/flat*" > "$scratch/said"; }
    wait_until flat_is_begun
    rewrite q
    wait "$pid"
    equal "the flat file" "$(digest "$scratch/flat")" "$sum"
    rewrite q
    api POST /v1/sandboxes/q/fork '{"target": "r"}' > /dev/null
    rewrite q
    rewrite r
    remove q
    remove r
    rm "$scratch/flat"
    nothing_is_left
}

# A fork that cannot run is not there, and can be asked for again.
forks_are_undone() {
    create o
    scribble o 2
    dmsetup create ashlar-o2 --uuid foreign --table '0 8 zero'
    refused conflict "is not ours" POST /v1/sandboxes/o/fork '{"target": "o2"}'
    is_gone o2
    dmsetup remove ashlar-o2
    api POST /v1/sandboxes/o/fork '{"target": "o2"}' > /dev/null
    remove o2
    # Somebody has renamed ours and has another device of its name: that is not what is shown.
    dmsetup rename ashlar-o other
    dmsetup create ashlar-o --uuid foreign --table '0 8 zero'
    equal "the device" "$(api GET /v1/sandboxes/o | jq -r .device)" /dev/mapper/other
    dmsetup remove ashlar-o
    remove o
    nothing_is_left
}
