# What must be true after a failure; to be sourced by Tests/Kernel/sandboxes. docs/device-mapper.md lists which failure
# is which check.

no_space_for_the_store() {
    mkdir "$scratch/tiny"
    mount -t tmpfs -o size=4k tmpfs "$scratch/tiny"
    head -c 4096 /dev/zero > "$scratch/tiny/filler"
    refused noSpace "" POST /v1/sandboxes "{\"name\": \"a\", \"base\": \"$base\", \"store\": \"$scratch/tiny/store\"}"
    equal "files" "$(ls "$scratch/tiny")" filler
    umount "$scratch/tiny"
    nothing_is_left
}

# W10: names that are taken.
names_are_taken() {
    local ours holder
    ours=ASHLAR-$(instance)-0123456789abcdef-disk
    dmsetup create ashlar-a --uuid foreign --table '0 8 zero'
    refused conflict "is not ours" POST /v1/sandboxes "{\"name\": \"a\", \"base\": \"$base\"}"
    equal "the foreign device" "$(dmsetup info -c --noheadings -o uuid ashlar-a)" foreign
    dmsetup remove ashlar-a
    # A stale one of ours, in use and not.
    dmsetup create ashlar-a --uuid "$ours" --table '0 8 zero'
    dmsetup mknodes
    hold /dev/mapper/ashlar-a
    refused busy "sleep (pid $holder)" POST /v1/sandboxes "{\"name\": \"a\", \"base\": \"$base\"}"
    kill "$holder"
    wait "$holder" || true
    create a
    refused conflict "another one of that name" POST /v1/sandboxes "{\"name\": \"a\", \"base\": \"$base\", \"size\": 41943040}"
    create a # asked again, it is the same
    # The same when it is made again.
    verb a pause
    dmsetup create ashlar-a --uuid foreign --table '0 8 zero'
    refused conflict "is not ours" POST /v1/sandboxes/a/resume
    equal "the foreign device" "$(dmsetup info -c --noheadings -o uuid ashlar-a)" foreign
    dmsetup remove ashlar-a
    equal "the state" "$(state a)" paused
    verb a resume
    # A file that is there already is not ours.
    echo mine > "$scratch/mine"
    refused conflict "a file of that name" POST /v1/sandboxes "{\"name\": \"b\", \"base\": \"$base\", \"store\": \"$scratch/mine\"}"
    equal "the file" "$(cat "$scratch/mine")" mine
    local bad
    for bad in '' '../a' 'a/b' 'a b' '-a' "$(printf 'a%.0s' {1..65})"; do
        refused invalidArgument "name has 1 to 64" POST /v1/sandboxes "{\"name\": \"$bad\", \"base\": \"$base\"}"
    done
    remove a
    rm "$scratch/mine"
    nothing_is_left
}

# W4, W5: the base is bound to the changes, and nobody of ours changes it.
base_is_bound() {
    local store=$ASHLAR_ROOT/sandbox-a.store sum
    cp "$base" "$scratch/copy"
    create a
    scribble a 9
    sum=$(digest "$(device a)")
    fails "open for writing" python3 -c "
import fcntl
try: fcntl.flock(open('$base', 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError: raise SystemExit('open for writing is refused')"
    fails "$base" ashlar attach --id writer "raw:$base"
    verb a pause
    sha256sum < "$store" > "$scratch/store.sum"
    # Other bytes, the same size and times as far as a user can set them.
    head -c 1M /dev/urandom | dd of="$base" bs=1M seek=4 conv=notrunc status=none
    touch -r "$scratch/copy" "$base"
    refused checksumMismatch "expected sha256:$(cat "$scratch/base.sum")" POST /v1/sandboxes/a/resume
    refused checksumMismatch "found sha256" POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/flat\"}"
    refused checksumMismatch "found sha256" POST /v1/sandboxes/a/merge
    [ ! -e "$scratch/flat" ]
    # A fork reads nothing of the base, and is bound to it as well.
    api POST /v1/sandboxes/a/fork '{"target": "b"}'
    refused checksumMismatch "found sha256" POST /v1/sandboxes/b/resume
    remove b
    truncate -s "$((megabytes / 2))M" "$base"
    refused checksumMismatch "found sha256" POST /v1/sandboxes/a/resume
    mv "$base" "$base.away"
    refused notFound "put the base back" POST /v1/sandboxes/a/resume
    equal "the state" "$(state a)" paused
    equal "the store" "$(sha256sum < "$store")" "$(cat "$scratch/store.sum")"
    # Another file of the same content is the same base.
    cp "$scratch/copy" "$base"
    rm "$base.away"
    verb a resume
    equal "the content" "$(digest "$(device a)")" "$sum"
    remove a
    rm "$scratch/copy"
    nothing_is_left
}

store_is_damaged() {
    local store=$ASHLAR_ROOT/sandbox-a.store sum
    create a
    scribble a 1; scribble a 40; scribble a 90
    sum=$(digest "$(device a)")
    verb a pause
    cp "$store" "$scratch/good"
    # Cut behind the last change: nothing is lost.
    truncate -s 2M "$store"
    verb a resume
    equal "the content" "$(digest "$(device a)")" "$sum"
    verb a pause
    # Cut within it.
    truncate -s $(((1 << 20) + 10 * 4096)) "$store"
    refused corrupt "an entry at byte" POST /v1/sandboxes/a/resume
    equal "devices" "$(dmsetup ls)" "No devices found"
    cp "$scratch/good" "$store"
    # The kernel's header, ours, an entry.
    printf '\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0' | dd of="$store" bs=1 seek=$((1 << 20)) conv=notrunc status=none
    refused corrupt "has entries and no header" POST /v1/sandboxes/a/resume
    cp "$scratch/good" "$store"
    printf '\0' | dd of="$store" bs=1 seek=$(((1 << 20) + 4)) conv=notrunc status=none
    refused corrupt "changes were lost" POST /v1/sandboxes/a/resume
    refused corrupt "changes were lost" POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/flat\"}"
    [ ! -e "$scratch/flat" ] || { echo "it was flattened"; return 1; }
    cp "$scratch/good" "$store"
    printf 'x' | dd of="$store" bs=1 seek=70 conv=notrunc status=none
    refused corrupt "checksum" POST /v1/sandboxes/a/resume
    cp "$scratch/good" "$store"
    create b
    verb b pause
    cp "$ASHLAR_ROOT/sandbox-b.store" "$store"
    refused conflict "the store of another sandbox" POST /v1/sandboxes/a/resume
    cp "$scratch/good" "$store"
    verb a resume
    equal "the content" "$(digest "$(device a)")" "$sum"
    remove a
    remove b
    rm "$scratch/good"
    nothing_is_left
}

# W3: what the kernel has given up is seen, and not kept as if it were whole.
invalid_is_seen() {
    mkdir -p "$scratch/tiny"
    mount -t tmpfs -o size=1m tmpfs "$scratch/tiny"
    create a "\"store\": \"$scratch/tiny/store\""
    dd if=/dev/urandom of="$(device a)" bs=1M count=4 oflag=direct status=none 2> /dev/null || true
    equal "the status" "$(dmsetup status ashlar-a | cut -d ' ' -f 4-)" Invalid
    refused corrupt "given the snapshot up" POST /v1/sandboxes/a/pause
    refused corrupt "" POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/flat\"}"
    seen() { api GET /v1/sandbox-events | jq -e 'any(.[]; .kind == "invalid")'; }
    wait_until seen
    remove a
    umount "$scratch/tiny"
    nothing_is_left
}

# W7, W8, W9: nothing is lost while somebody uses the device, and it goes by itself afterwards.
device_is_held() {
    local store=$ASHLAR_ROOT/sandbox-a.store begin=$SECONDS holder sum
    create a
    scribble a 2
    hold "$(device a)"
    refused busy "sleep (pid $holder)" POST /v1/sandboxes/a/pause
    [ $((SECONDS - begin)) -lt 30 ] || { echo "it took $((SECONDS - begin)) s"; return 1; }
    equal "the state" "$(state a)" pausing
    sum=$(digest "$(device a)")
    # Taken back while it waits.
    verb a resume
    equal "the state" "$(state a)" running
    refused busy "sleep (pid $holder)" POST /v1/sandboxes/a/pause
    kill "$holder"
    wait_until state_is a paused
    verb a resume
    equal "the content" "$(digest "$(device a)")" "$sum"
    hold "$(device a)"
    refused busy "sleep (pid $holder)" DELETE /v1/sandboxes/a
    equal "the state" "$(state a)" removing
    [ -e "$store" ] || { echo "the store is gone before its device"; return 1; }
    # Also when another manager takes over meanwhile.
    stop; start
    equal "the state" "$(state a)" removing
    kill "$holder"
    wait_until is_gone a
    [ ! -e "$store" ]
    nothing_is_left
}

# Who uses the device loses it, and nobody has to wait for them.
removal_is_forced() {
    local driver holder
    for driver in snapshot thin; do
        create a "\"driver\": \"$driver\""
        mount "$(device a)" "$scratch/mnt"
        exec 5< "$(device a)"
        refused busy "the mount at $scratch/mnt" DELETE /v1/sandboxes/a
        equal "the state" "$(state a)" removing
        api DELETE "/v1/sandboxes/a?force=true"
        is_gone a
        [ ! -e "$ASHLAR_ROOT/sandbox-a.store" ]
        wait_until no_loops
        ! dd if=/proc/self/fd/5 bs=4k skip=100 count=1 of=/dev/null iflag=direct 2> "$scratch/dd" || { echo "it can be read"; return 1; }
        grep -q 'Input/output error' "$scratch/dd"
        # The name is free at once.
        create a
        equal "the content" "$(digest "$(device a)")" "$(cat "$scratch/base.sum")"
        equal "what gc removes" "$(collected)" ""
        remove a
        umount "$scratch/mnt"
        exec 5<&-
        no_devices() { [ "$(dmsetup ls)" = "No devices found" ]; }
        wait_until no_devices
        nothing_is_left
    done
}

# The kernel's refusal is told with the kernel's words.
kernel_refuses() {
    local modprobe
    modprobe=$(cat /proc/sys/kernel/modprobe)
    modprobe -r dm_snapshot
    echo /bin/false > /proc/sys/kernel/modprobe
    refused invalidArgument "unknown target type" POST /v1/sandboxes "{\"name\": \"a\", \"base\": \"$base\", \"driver\": \"snapshot\"}"
    echo "$modprobe" > /proc/sys/kernel/modprobe
    modprobe dm_snapshot
    nothing_is_left
    base_is_as_it_was
}

# W8: who detaches the loop devices of a running sandbox takes nothing away from it.
loops_are_detached() {
    local driver loop sum
    for driver in snapshot thin; do
        create a "\"driver\": \"$driver\""
        scribble a 1
        sum=$(digest "$(device a)")
        for loop in $(losetup --list --noheadings --output NAME); do losetup --detach "$loop"; done
        echo 3 > /proc/sys/vm/drop_caches
        equal "the content" "$(digest "$(device a)")" "$sum"
        create b
        equal "the content of the next" "$(digest "$(device b)")" "$(cat "$scratch/base.sum")"
        remove b
        verb a pause
        wait_until no_loops
        verb a resume
        equal "the content" "$(digest "$(device a)")" "$sum"
        remove a
    done
    nothing_is_left
}

# W6: what a manager that died has left is gone before the next one comes, and that one adopts what runs.
manager_dies_between() {
    local driver step status taken sum numbers
    for driver in snapshot thin; do
        create b "\"driver\": \"$driver\""
        scribble b 6
        sum=$(digest "$(device b)")
        numbers=$(dmsetup info -c --noheadings -o major,minor ashlar-b)
        for step in "base loop" "origin" "pool" disk check "note running"; do
            case $step:$driver in origin:thin | pool:snapshot) continue ;; esac
            ask_with "$step:kill" create a "\"driver\": \"$driver\", \"size\": 41943040"
            [ -n "$taken" ] || { echo "there is no step $step"; return 1; }
            is_gone a
            equal "sandboxes" "$(api GET /v1/sandboxes | jq -r '.[].name')" b
            equal "references" "$(references)" 1
            equal "devices" "$(dmsetup ls | cut -f 1 | grep -v pool)" ashlar-b
        done
        equal "the device" "$(dmsetup info -c --noheadings -o major,minor ashlar-b)" "$numbers"
        equal "the content" "$(digest "$(device b)")" "$sum"
        remove b
    done
    nothing_is_left
}

# Who asked for it may go away: it is done all the same, or not begun, and the next one finds a whole sandbox.
asker_goes_away() {
    local holder sum
    create a
    scribble a 2
    sum=$(digest "$(device a)")
    gives_up() { ! curl -sS --max-time 1 --unix-socket "$ASHLAR_RUN/ashlard.sock" -X "$1" "http://ashlar$2" 2> "$scratch/curl"; }
    hold "$(device a)"
    gives_up POST /v1/sandboxes/a/pause
    grep -q 'timed out' "$scratch/curl"
    equal "the state" "$(state a)" pausing
    equal "the content" "$(digest "$(device a)")" "$sum"
    kill "$holder"
    wait_until state_is a paused
    verb a resume
    equal "the content" "$(digest "$(device a)")" "$sum"
    hold "$(device a)"
    gives_up DELETE /v1/sandboxes/a
    equal "the state" "$(state a)" removing
    equal "the content" "$(digest "$(device a)")" "$sum"
    kill "$holder"
    wait_until is_gone a
    nothing_is_left
}

flatten_fails() {
    local sum
    create a
    scribble a 2
    sum=$(digest "$(device a)")
    mkdir -p "$scratch/tiny"
    mount -t tmpfs -o size=1m tmpfs "$scratch/tiny"
    refused noSpace "" POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/tiny/flat\"}"
    equal "files" "$(ls "$scratch/tiny")" ""
    umount "$scratch/tiny"
    refused notFound "" POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/nowhere/flat\"}"
    refused invalidArgument "absolute" POST /v1/sandboxes/a/flatten '{"target": "flat"}'
    equal "the content" "$(digest "$(device a)")" "$sum"
    scribble a 3
    remove a
    nothing_is_left
}

# An error of the disk below is one of the flatten, and nothing of it is left.
flatten_cannot_read() {
    local disk sum sectors=$((64 << 11))
    truncate -s 64M "$scratch/bad"
    mkdir -p "$scratch/below"
    disk=$(losetup --find --show "$scratch/bad")
    dmsetup create --noudevsync bad --table "0 $sectors linear $disk 0"
    dmsetup mknodes
    mkfs.ext4 -q /dev/mapper/bad
    mount /dev/mapper/bad "$scratch/below"
    cp "$base" "$scratch/below/base"
    umount "$scratch/below"
    mount -o ro /dev/mapper/bad "$scratch/below"
    api POST /v1/sandboxes "{\"name\": \"a\", \"base\": \"$scratch/below/base\"}" > /dev/null
    scribble a 2
    sum=$(digest "$(device a)")
    now_it_is() { dmsetup suspend --noudevsync bad; dmsetup reload bad --table "$1"; dmsetup resume --noudevsync bad; }
    now_it_is "0 $sectors error"
    echo 3 > /proc/sys/vm/drop_caches
    refused ioError "" POST /v1/sandboxes/a/flatten "{\"target\": \"$scratch/flat\"}"
    now_it_is "0 $sectors linear $disk 0"
    equal "files" "$(find "$scratch" -maxdepth 1 -name 'flat*')" ""
    equal "the content" "$(digest "$(device a)")" "$sum"
    equal "the state" "$(state a)" running
    scribble a 3
    remove a
    wait_until umount "$scratch/below"
    dmsetup remove --noudevsync bad
    losetup -d "$disk"
    rm "$scratch/bad"
    nothing_is_left
}

foreign_devices_stay() {
    dmsetup create ashlar-foreign --table '0 8 zero'
    dmsetup create ashlar-other --uuid ASHLAR-00000000-1111111111111111-disk --table '0 8 zero'
    dmsetup create orphan --uuid "ASHLAR-$(instance)-2222222222222222-disk" --table '0 8 zero'
    create a
    equal "what gc removes" "$(collected)" "device orphan"
    equal "what is left" "$(dmsetup ls | cut -f 1 | sort | tr '\n' ' ')" "ashlar-a ashlar-foreign ashlar-other "
    remove a
    dmsetup remove ashlar-foreign
    dmsetup remove ashlar-other
    nothing_is_left
}

# W15, and one loop device whatever the base is called.
many_at_once() {
    create a
    verb a pause
    python3 Tests/Kernel/lib/sandbox_load.py "$ASHLAR_RUN/ashlard.sock" resume a 20
    equal "devices" "$(dmsetup ls | wc -l)" 1
    ln -s "$base" "$scratch/link"
    api POST /v1/sandboxes "{\"name\": \"b\", \"base\": \"$scratch/link\"}"
    api POST /v1/sandboxes "{\"name\": \"c\", \"base\": \"$scratch/./base\"}"
    equal "loop devices of the base" "$(losetup -j "$base" | wc -l)" 1
    equal "references" "$(references)" 3
    remove a; remove b; remove c
    rm "$scratch/link"
    nothing_is_left
}
