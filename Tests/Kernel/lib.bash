# What the groups of kernel tests have in common. A group is a file beside this one that sources it as its first
# step, with its own arguments:
#
#   Tests/Kernel/GROUP PROGRAMS [SERIES]
#
# scripts/test-kernel starts Tests/Kernel/run as root on a kernel of its own, and that runs the groups. PROGRAMS is
# the directory of ashlar and ashlard; SERIES is the kernel that is expected (6.12). /dev/vda is an empty ext4 disk
# for what is written.
#
# One line a check; the first that fails ends the group with status 1, the reason, and the end of the logs.
set -eEuo pipefail
shopt -s inherit_errexit
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

programs=$(realpath -e "$1")
series=${2:-}
export PATH="$programs:/usr/sbin:/sbin:$PATH"
scratch=$(mktemp -d /tmp/ashlar-kernel-test.XXXXXX)
export ASHLAR_ROOT=$scratch/root ASHLAR_RUN=$scratch/run
# The machine is emulated, 10 to 20 times slower: who waits for a manager waits longer, too.
export ASHLAR_TIMEOUT=120
report=$scratch/report
# For one check, in seconds: many times what the slowest takes under emulation. A long one has its own:
# limit=600 check …
limit=300
# What wait_until waits, in seconds.
patience=60
# What devices are made with.
transport=fuse

die() { echo "$*" >&2; exit 1; }

# amount SHORT LONG: how often, in the usual run and with ASHLAR_LONG=1.
amount() { if [ "${ASHLAR_LONG:-0}" = 1 ]; then echo "$2"; else echo "$1"; fi; }

# equal WHAT IS OUGHT
equal() { [ "$2" = "$3" ] || die "$1 is '$2', not '$3'"; }

# prints_nothing COMMAND...: it has to succeed, too.
prints_nothing() {
    local output
    output=$("$@")
    [ -z "$output" ] || die "'$*' prints: $output"
}

# says TEXT COMMAND...: it has to fail, with status 1 and this in its errors; what it said is in $scratch/said.
says() {
    local text=$1 status=0
    shift
    "$@" > "$scratch/said" 2>&1 || status=$?
    [ "$status" -eq 1 ] || die "'$*' ended with status $status and said: $(cat "$scratch/said")"
    grep -qF -- "$text" "$scratch/said" || die "'$*' does not speak of '$text': $(cat "$scratch/said")"
}

# none_runs PATTERN: no process has it in its command line.
none_runs() {
    local status=0
    pgrep -a -f "$1" || status=$?
    [ "$status" -eq 1 ] || die "pgrep finds '$1' (status $status)"
}

# check NAME COMMAND...: runs a command as a check of that name. It runs beside us: a task that the kernel does
# not let go cannot be killed, and only somebody else can say so then.
check() {
    local name=$1 begin=$EPOCHREALTIME end=$((SECONDS + limit)) pid milliseconds
    shift
    (
        trap 'echo "line $LINENO: status $?: $BASH_COMMAND" >&2' ERR
        "$@"
    ) > "$report" 2>&1 &
    pid=$!
    while kill -0 "$pid" 2> /dev/null; do
        [ "$SECONDS" -lt "$end" ] || overdue "$name"
        sleep 0.1
    done
    wait "$pid" || failed "$name" "$(cat "$report")"
    milliseconds=$(((${EPOCHREALTIME/./} - ${begin/./}) / 1000))
    printf 'ok      %s (%d.%d s)\n' "$name" $((milliseconds / 1000)) $((milliseconds % 1000 / 100))
}

overdue() {
    cat "$report"
    failed "$1" "not done after $limit s; tasks that the kernel holds: $(held_tasks)"
}

failed() {
    local log
    echo "FAILED  $1: $2"
    for log in "$scratch"/*/*.log; do
        [ ! -f "$log" ] || { echo "--- the end of ${log#"$scratch"/}"; tail -n 20 "$log"; }
    done
    echo "--- the end of the kernel's log"
    dmesg | tail -n 20
    exit 1
}

# The tasks in uninterruptible sleep, and where in the kernel each of them is.
held_tasks() {
    local stat task
    for stat in /proc/[0-9]*/task/[0-9]*/stat; do
        # The name in parentheses may hold anything; the state comes behind the last of them.
        { read -r task < "$stat"; } 2> /dev/null || continue
        case ${task##*) } in
            D*) task=${stat%/stat}; echo; echo "$task ($(cat "$task/comm"))"; cat "$task/stack" ;;
        esac
    done
}

no_task_is_held() { [ -z "$(held_tasks 2> /dev/null)" ]; }

# wait_until COMMAND...: runs it again and again until it succeeds.
wait_until() {
    local end=$((SECONDS + $patience))
    until "$@"; do
        [ "$SECONDS" -lt "$end" ] || die "not within $patience s: $*"
        sleep 0.1
    done
}

# Processes that have ended are not there, also if nobody has asked yet how.
has_ended() {
    local state
    state=$(ps -o state= -p "$1") || return 0
    [ "$state" = Z ]
}

# --- helpers of the checks ------------------------------------------------------

# attach ID IMAGE [OPTION...]: prints the device, which has to be one.
attach() {
    local id=$1 device
    shift
    device=$(ashlar attach --id "$id" --transport "$transport" "$@")
    [ -b "$device" ] || die "ashlar attach printed '$device'"
    echo "$device"
}

# field ID PATH: a field of what inspect says.
field() { ashlar inspect "$1" --json | jq -er "$2"; }

state_is() { [ "$(field "$1" .state)" = "$2" ]; }

# The digest of a device or file, read past the page cache.
digest() { dd if="$1" bs=1M iflag=direct status=none | sha256sum | cut -c -64; }

# The bytes that a file takes on its disk.
allocated() { echo $(($(stat -c %b "$1") * $(stat -c %B "$1"))); }

# The FUSE connections of this machine; its root directory may be one of them.
connections() { find /sys/fs/fuse/connections -mindepth 1 -maxdepth 1 -printf '%f\n' | sort; }

# The size and the SHA-256 that fixtures/images.tsv lists for a configuration.
listed() {
    local row
    row=$(awk -F '\t' -v config="$1" '$1 == config { print $2, $3 }' fixtures/images.tsv)
    [ -n "$row" ] || die "fixtures/images.tsv has no $1"
    echo "$row"
}

# --- checks that more than one group has ------------------------------------------

kernel_is_right() {
    [ -z "$series" ] || [[ $(uname -r) == "$series".* ]] || die "this is $(uname -r)"
}

scratch_disk_mounts() {
    mkdir "$scratch/disk" "$scratch/mnt"
    mount -t ext4 /dev/vda "$scratch/disk"
    # What another group has written.
    find "$scratch/disk" -mindepth 1 -maxdepth 1 ! -name lost+found -exec rm -r {} +
}

image_reads_as_listed() {
    local config=$1 size sum device
    read -r size sum <<< "$(listed "$config")"
    device=$(attach image --config "fixtures/$config")
    equal "the size" "$(blockdev --getsize64 "$device")" "$size"
    equal "read-only" "$(blockdev --getro "$device")" 1
    [ "$transport" != fuse ] || equal "direct I/O" "$(cat "/sys/block/${device#/dev/}/loop/dio")" 1
    equal "the sha256" "$(digest "$device")" "$sum"
    equal "the number of failed requests" "$(field image .requests.failed)" 0
    ashlar detach --id image
}

# mounted_tree_is CONFIG TREE: as many entries, and every file's name and content. Names may hold newlines.
mounted_tree_is() {
    local tree=fixtures/$2
    attach tree --config "fixtures/$1"
    ashlar mount tree "$scratch/mnt"
    equal "the number of entries" "$(find "$scratch/mnt" -printf . | wc -c)" "$(jq length "$tree")"
    jq -j '.[] | select(.sha256) | "\(.sha256)  ./\(.path)\u0000"' "$tree" | sort -z > "$scratch/ought"
    (cd "$scratch/mnt" && find . -type f -exec sha256sum -z {} +) | sort -z > "$scratch/is"
    [ -s "$scratch/ought" ] || die "$tree has no files"
    cmp "$scratch/is" "$scratch/ought" || {
        diff <(tr '\0' '\n' < "$scratch/is") <(tr '\0' '\n' < "$scratch/ought") | head -n 10 || true
        die "the files differ"
    }
    ashlar umount tree
    ashlar detach --id tree
}

discard_reaches_the_file() {
    local file=$scratch/disk/discard.img device before after
    head -c 8M /dev/urandom > "$file"
    cp "$file" "$file.ought"
    dd if=/dev/zero of="$file.ought" bs=1M seek=2 count=4 conv=notrunc status=none
    sync -f "$file"
    before=$(allocated "$file")
    device=$(attach discard "raw:$file")
    blkdiscard --offset 2M --length 4M "$device"
    equal "the device's sha256" "$(digest "$device")" "$(digest "$file.ought")"
    ashlar detach --id discard
    cmp "$file" "$file.ought"
    after=$(allocated "$file")
    [ $((before - after)) -ge $((4 << 20)) ] || die "the file took $before bytes and takes $after now"
}

# What is only in the page cache of the device goes through its data server while that takes the device apart.
detach_writes_what_nobody_synced() {
    local file=$scratch/disk/unsynced.img device
    head -c 8M /dev/urandom > "$file.ought"
    truncate -s 8M "$file"
    device=$(attach unsynced "raw:$file")
    dd if="$file.ought" of="$device" bs=1M status=none
    ashlar detach --id unsynced
    cmp "$file" "$file.ought"
}

nothing_is_attached() {
    equal "ashlar ls --json" "$(ashlar ls --json | tr -d '[:space:]')" "[]"
    none_runs 'ashlard serve'
    prints_nothing find "$ASHLAR_RUN/servers" "$ASHLAR_RUN/dev" -mindepth 1
    ashlar daemon stop
    none_runs 'ashlard manage'
}

scratch_disk_unmounts() { umount "$scratch/disk"; }

# Soft lockups and stalls are left out: a busy host causes them in a machine that it emulates.
kernel_has_no_complaints() {
    local messages
    messages=$(dmesg)
    ! grep -E 'WARNING: CPU|kernel BUG|BUG: unable|Oops|general protection|refcount_t|blocked for more than|segfault at|trap invalid opcode' <<< "$messages"
}

echo "kernel $(uname -r): ${0##*/}"
check "the kernel is the one that was asked for" kernel_is_right
