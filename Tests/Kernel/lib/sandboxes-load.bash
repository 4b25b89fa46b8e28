# Many sandboxes; to be sourced by Tests/Kernel/sandboxes.

two_hundred() {
    local number small=$scratch/small load=(python3 Tests/Kernel/lib/sandbox_load.py "$ASHLAR_RUN/ashlard.sock")
    truncate -s 4M "$small"
    mkfs.ext4 -q "$small"
    "${load[@]}" many "$small" 200
    equal "devices" "$(dmsetup ls | wc -l)" 200
    equal "loop devices of the base" "$(losetup -j "$small" | wc -l)" 1
    equal "loop devices" "$(losetup -a | wc -l)" 201
    for number in {1..200}; do
        mount "$(device "load-$number")" "$scratch/mnt"
        echo "I am $number" > "$scratch/mnt/who"
        umount "$scratch/mnt"
    done
    for number in {1..200}; do
        mount -o ro "$(device "load-$number")" "$scratch/mnt"
        equal "who is $number" "$(cat "$scratch/mnt/who")" "I am $number"
        umount "$scratch/mnt"
    done
    "${load[@]}" remove 200
    rm "$small"
    nothing_is_left
}

twenty_processes() {
    local pids=() pid number
    for number in {1..20}; do
        ashlar sandbox create "process-$number" --base "$base" > "$scratch/process-$number" & pids+=($!)
    done
    for pid in "${pids[@]}"; do wait "$pid"; done
    for number in {1..20}; do
        equal "what process $number prints" "$(cat "$scratch/process-$number")" "$(device "process-$number")"
        remove "process-$number"
        rm "$scratch/process-$number"
    done
    nothing_is_left
}

thousand_cycles() {
    local manager before
    manager=$(cat "$scratch/manager")
    create warm
    remove warm
    before=$(ls "/proc/$manager/fd" | wc -l)
    python3 Tests/Kernel/lib/sandbox_load.py "$ASHLAR_RUN/ashlard.sock" cycles "$base" 1000
    [ "$(ls "/proc/$manager/fd" | wc -l)" -le $((before + 4)) ] || { ls -l "/proc/$manager/fd"; return 1; }
    echo "memory now: $(grep VmRSS "/proc/$manager/status")"
    equal "semaphores" "$(ipcs -s | grep -c '^0x')" 0
    nothing_is_left
}
