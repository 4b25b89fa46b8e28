# What sandboxes do when nothing fails; to be sourced by Tests/Kernel/sandboxes.

life() {
    local sum driver=$1 direct=0
    ! takes_direct_io "$base" || direct=1
    create one "\"driver\": \"$driver\""
    equal "the content" "$(digest "$(device one)")" "$(cat "$scratch/base.sum")"
    equal "direct I/O of the loop devices" "$(cat /sys/block/loop*/loop/dio 2> /dev/null | sort -u)" $direct
    equal "autoclear of the loop devices" "$(cat /sys/block/loop*/loop/autoclear 2> /dev/null | sort -u)" 1
    mount "$(device one)" "$scratch/mnt"
    cp "$scratch/mnt/file" "$scratch/mnt/copy"
    umount "$scratch/mnt"
    sum=$(digest "$(device one)")
    verb one pause
    equal "devices of a paused one" "$(dmsetup ls)" "No devices found"
    wait_until no_loops
    stop; start
    equal "its state" "$(state one)" paused
    verb one resume
    equal "the content" "$(digest "$(device one)")" "$sum"
    api POST /v1/sandboxes/one/flatten "{\"target\": \"$scratch/flat\"}"
    equal "the flat file" "$(digest "$scratch/flat")" "$sum"
    verb one pause
    api POST /v1/sandboxes/one/flatten "{\"target\": \"$scratch/flat\", \"replace\": true}"
    equal "the flat file of a paused one" "$(digest "$scratch/flat")" "$sum"
    refused conflict "there is a file already" POST /v1/sandboxes/one/flatten "{\"target\": \"$scratch/flat\"}"
    rm "$scratch/flat"
    verb one resume
    api POST /v1/sandboxes/one/fork '{"target": "two"}'
    equal "the fork" "$(digest "$(device two)")" "$sum"
    scribble one 3
    equal "the fork afterwards" "$(digest "$(device two)")" "$sum"
    scribble two 5
    [ "$(digest "$(device one)")" != "$(digest "$(device two)")" ] || { echo "they are one"; return 1; }
    remove one
    verb two pause
    verb two resume
    remove two
    base_is_as_it_was
    nothing_is_left
}

# The kernel believes an overlay that it has direct I/O, whatever is below.
without_direct_io() {
    local driver below=$scratch/overlay/files
    mkdir "$scratch/memory" "$scratch/overlay"
    mount -t ramfs ramfs "$scratch/memory"
    mkdir "$scratch/memory"/{lower,upper,work}
    mount -t overlay overlay "$scratch/overlay" \
        -o "lowerdir=$scratch/memory/lower,upperdir=$scratch/memory/upper,workdir=$scratch/memory/work"
    mkdir "$below"
    cp "$base" "$below/base"
    ! takes_direct_io "$below/base" || { echo "it takes direct I/O"; return 1; }
    for driver in snapshot thin; do
        api POST /v1/sandboxes "{\"name\": \"o\", \"base\": \"$below/base\", \"store\": \"$below/store\", \"driver\": \"$driver\"}"
        equal "direct I/O of the loop devices" "$(cat /sys/block/loop*/loop/dio 2> /dev/null | sort -u)" 0
        grep -qF "$below/base: used without direct I/O" "$ASHLAR_ROOT/ashlard.log"
        equal "the content" "$(digest "$(device o)")" "$(cat "$scratch/base.sum")"
        scribble o 3
        local sum
        sum=$(digest "$(device o)")
        verb o pause
        verb o resume
        equal "the content" "$(digest "$(device o)")" "$sum"
        remove o
    done
    equal "files" "$(ls "$below")" base
    umount "$scratch/overlay" "$scratch/memory"
    rmdir "$scratch/overlay" "$scratch/memory"
    nothing_is_left
}

larger_than_its_base() {
    local size=$((24 << 20)) driver
    for driver in snapshot thin; do
        create big "\"driver\": \"$driver\", \"size\": $size"
        equal "the size" "$(blockdev --getsize64 "$(device big)")" "$size"
        equal "the content" "$(head -c "${megabytes}M" "$(device big)" | sha256sum | cut -c -64)" "$(cat "$scratch/base.sum")"
        equal "what is behind it" "$(tail -c +$(((megabytes << 20) + 1)) "$(device big)" | tr -d '\0' | wc -c)" 0
        e2fsck -fp "$(device big)"
        resize2fs "$(device big)"
        local sum
        sum=$(digest "$(device big)")
        api POST /v1/sandboxes/big/flatten "{\"target\": \"$scratch/flat\"}"
        equal "the flat file" "$(digest "$scratch/flat")" "$sum"
        rm "$scratch/flat"
        verb big pause
        verb big resume
        equal "the content" "$(digest "$(device big)")" "$sum"
        remove big
    done
    refused invalidArgument "its size is" POST /v1/sandboxes "{\"name\": \"small\", \"base\": \"$base\", \"size\": 512}"
    nothing_is_left
}

merged() {
    local sum holder
    cp "$base" "$scratch/own"
    api POST /v1/sandboxes "{\"name\": \"m\", \"base\": \"$scratch/own\"}"
    api POST /v1/sandboxes "{\"name\": \"n\", \"base\": \"$scratch/own\"}"
    scribble m 7
    refused conflict "its base is that of n" POST /v1/sandboxes/m/merge
    remove n
    sum=$(digest "$(device m)")
    hold "$(device m)"
    refused busy "sleep (pid $holder)" POST /v1/sandboxes/m/merge
    kill "$holder"
    wait_until state_is m paused
    api POST /v1/sandboxes/m/merge
    equal "the base" "$(digest "$scratch/own")" "$sum"
    rm "$scratch/own"
    nothing_is_left
}

# W1, W2: every block of the disk can be rewritten.
whole_disk_is_rewritten() {
    local driver
    for driver in snapshot thin; do
        create full "\"driver\": \"$driver\""
        dd if=/dev/urandom of="$(device full)" bs=1M count="$megabytes" oflag=direct status=none
        local sum
        sum=$(digest "$(device full)")
        verb full pause
        verb full resume
        equal "the content" "$(digest "$(device full)")" "$sum"
        remove full
    done
    nothing_is_left
}

# W2, W3: a quota is ENOSPC for the writer, what is there can be read, and somebody is told.
quota_is_enospc() {
    local last
    last=$(api GET /v1/sandbox-events | jq 'last.number // 0')
    create q '"quota": 4194304'
    ! dd if=/dev/urandom of="$(device q)" bs=64k count=100 oflag=direct 2> "$scratch/dd" || { echo "no error"; return 1; }
    grep -q 'No space left on device' "$scratch/dd"
    digest "$(device q)" > "$scratch/q.sum"
    told() { api GET "/v1/sandbox-events?after=$last" | jq -e 'any(.[]; .kind == "watermark") and any(.[]; .kind == "full")'; }
    wait_until told
    verb q pause
    verb q resume
    equal "the content" "$(digest "$(device q)")" "$(cat "$scratch/q.sum")"
    remove q
    refused unsupported "cannot tell its writer" POST /v1/sandboxes "{\"name\": \"q\", \"base\": \"$base\", \"driver\": \"snapshot\", \"quota\": 4194304}"
    nothing_is_left
}

# W13: what was made zero is zero, and not what was there before.
zeros_stay_zeros() {
    local driver sum
    for driver in snapshot thin; do
        create z "\"driver\": \"$driver\""
        scribble z 20
        scribble z 24
        # The base's own first blocks, a part of what was changed, and what was changed as a whole.
        dd if=/dev/zero of="$(device z)" bs=4k count=24 oflag=direct conv=notrunc status=none
        dd if=/dev/zero of="$(device z)" bs=4k seek=321 count=3 oflag=direct conv=notrunc status=none
        blkdiscard --zeroout --offset $((24 * 65536)) --length 65536 "$(device z)"
        zeros_are_there() {
            equal "not zero in the first blocks" "$(content "$1" bs=4k count=24 | tr -d '\0' | wc -c)" 0
            equal "not zero in a part" "$(content "$1" bs=4k skip=321 count=3 | tr -d '\0' | wc -c)" 0
            equal "not zero in the whole" "$(content "$1" bs=64k skip=24 count=1 | tr -d '\0' | wc -c)" 0
        }
        zeros_are_there "$(device z)"
        sum=$(digest "$(device z)")
        verb z pause
        verb z resume
        equal "the content" "$(digest "$(device z)")" "$sum"
        api POST /v1/sandboxes/z/fork '{"target": "y"}'
        zeros_are_there "$(device y)"
        api POST /v1/sandboxes/y/flatten "{\"target\": \"$scratch/flat\"}"
        zeros_are_there "$scratch/flat"
        equal "the flat file" "$(digest "$scratch/flat")" "$sum"
        rm "$scratch/flat"
        remove y
        remove z
    done
    nothing_is_left
}

# W14: what are neighbours on the disk are none in the store, and the other way round.
neighbours_are_none() {
    local driver block sum
    for driver in snapshot thin; do
        create s "\"driver\": \"$driver\""
        for block in 103 102 101 100 99 160 98 162 161; do
            head -c 4096 /dev/urandom | dd of="$(device s)" bs=4k seek=$block oflag=direct conv=notrunc status=none
        done
        sum=$(digest "$(device s)")
        for state in running paused; do
            api POST /v1/sandboxes/s/flatten "{\"target\": \"$scratch/flat\"}"
            equal "the flat file of a $state one" "$(digest "$scratch/flat")" "$sum"
            rm "$scratch/flat"
            [ "$state" = paused ] || verb s pause
        done
        verb s resume
        equal "the content" "$(digest "$(device s)")" "$sum"
        remove s
    done
    nothing_is_left
}
