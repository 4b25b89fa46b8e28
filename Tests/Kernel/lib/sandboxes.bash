# What the parts of Tests/Kernel/sandboxes share; to be sourced after "checks". $programs is the directory of ashlar and
# ashlard. It makes $scratch, and an instance of the engine there.
export PATH="$programs:/usr/sbin:/sbin:$PATH"
scratch=$(mktemp -d /tmp/ashlar-sb-test.XXXXXX)
export ASHLAR_ROOT=$scratch/root ASHLAR_RUN=$scratch/run
# The machine is emulated, 10 to 20 times slower: who waits for a manager waits longer, too.
export ASHLAR_TIMEOUT=120
modprobe -a loop dm_mod dm_snapshot dm_thin_pool ext4
mkdir "$ASHLAR_ROOT" "$ASHLAR_RUN" "$scratch/mnt"
mkfifo "$scratch/questions" "$scratch/answers"
python3 Tests/Kernel/lib/sandbox_client.py "$ASHLAR_RUN/ashlard.sock" "$ASHLAR_ROOT/sandboxes.sqlite" \
    < "$scratch/questions" > "$scratch/answers" &
exec {questions}> "$scratch/questions" {answers}< "$scratch/answers"
base=$scratch/base
# Of the base: what the machine reads over and over has to be small.
megabytes=8

# start: starts a manager and waits until it answers. What is in $scratch/fault is to befall it.
start() {
    # W11: it needs no tool, and nothing of what it does depends on a tool's words.
    PATH=/nowhere "$programs/ashlard" manage --sandbox-fault-file "$scratch/fault" 2>> "$ASHLAR_ROOT/ashlard.log" &
    echo $! > "$scratch/manager"
    local end=$((SECONDS + 60))
    until api GET /v1/status > /dev/null 2>&1; do
        kill -0 "$(cat "$scratch/manager")" 2> /dev/null || return 1
        [ "$SECONDS" -lt "$end" ] || { echo "the manager does not answer"; return 1; }
        nap 0.05
    done
}

stop() {
    kill -KILL "$(cat "$scratch/manager")" 2> /dev/null || true
    while [ -d "/proc/$(cat "$scratch/manager")" ] && ! grep -q '^State:.Z' "/proc/$(cat "$scratch/manager")/status"; do
        nap 0.02
    done
}

# api METHOD PATH [BODY]: prints the answer; false unless it is a success.
api() {
    local status answer
    printf '%s %s %s\n' "$1" "$2" "${3:-}" >&"$questions"
    read -r status answer <&"$answers"
    echo "$answer"
    [ "$status" = 200 ] || { echo "$1 $2: $status $answer" >&2; return 1; }
}

# journal QUERY: the first field of the first row of what the journal answers.
journal() { api SQL "$1"; }

# refused KIND WORDS METHOD PATH [BODY]: it has to fail in that way, and to say these words.
refused() {
    local kind=$1 words=$2 answer
    shift 2
    if answer=$(api "$@"); then echo "it succeeded: $*: $answer"; return 1; fi
    equal "the kind of $answer" "$(jq -r .error.kind <<< "$answer")" "$kind"
    [[ $answer == *"$words"* ]] || { echo "it says: $answer"; return 1; }
}

# create NAME [FIELDS]
create() { api POST /v1/sandboxes "{\"name\": \"$1\", \"base\": \"$base\"${2:+, $2}}" > /dev/null; }
verb() { api POST "/v1/sandboxes/$1/$2" > /dev/null; }
remove() { api DELETE "/v1/sandboxes/$1" > /dev/null; }
state() { api GET "/v1/sandboxes/$1" | jq -r .state; }
state_is() { [ "$(state "$1")" = "$2" ]; }
# Collects what is nobody's, and prints it; notes about bases that earlier checks changed are there or not, as their time
# would have it.
collected() { api POST /v1/sandboxes/gc | jq -r '.removed[] | select(test("^[0-9]+ notes? about bases$") | not)'; }
is_gone() {
    local answer
    ! answer=$(api GET "/v1/sandboxes/$1" 2> /dev/null) || return 1
    [ "$(jq -r .error.kind <<< "$answer")" = notFound ]
}
no_loops() { [ -z "$(losetup -a)" ]; }
device() { echo "/dev/mapper/ashlar-$1"; }
# takes_direct_io FILE: not so on the tmpfs of an older kernel.
takes_direct_io() { dd if="$1" of=/dev/null bs=4k count=1 iflag=direct 2> /dev/null; }
# content DEVICE|FILE [OPTION...]: by dd; a device without what is cached of it.
content() {
    local flags=()
    [ ! -b "$1" ] || flags=(iflag=direct)
    dd if="$1" "${flags[@]}" status=none "${@:2}"
}
digest() { content "$1" bs=1M | sha256sum | cut -c -64; }
instance() { journal 'select id from instance'; }
references() { journal 'select count(*) from loopReference'; }

# hold FILE: somebody has it open; sets $holder.
hold() {
    sleep 600 < "$1" & holder=$!
    wait_until grep -qx sleep "/proc/$holder/comm"
}

# scribble NAME BLOCK: writes 64 KiB of chance at a block of 64 KiB.
scribble() { head -c 64K /dev/urandom | dd of="$(device "$1")" bs=64k seek="$2" oflag=direct conv=notrunc status=none; }

nothing_is_left() {
    equal "sandboxes" "$(api GET /v1/sandboxes | jq length)" 0
    equal "devices" "$(dmsetup ls)" "No devices found"
    wait_until no_loops
    equal "references to bases" "$(references)" 0
    equal "files" "$(find "$ASHLAR_ROOT" "$scratch" -maxdepth 1 \( -name 'sandbox-*' -o -name '*.partial' -o -name '*.new' \))" ""
    equal "nodes" "$(find /dev/mapper -name 'ashlar*')" ""
}

base_is_made() {
    truncate -s "${megabytes}M" "$base"
    mkfs.ext4 -q "$base"
    mount -o loop "$base" "$scratch/mnt"
    head -c 1M /dev/urandom > "$scratch/mnt/file"
    umount "$scratch/mnt"
    sleep 0.3
    sha256sum "$base" | cut -c -64 > "$scratch/base.sum"
    start
}

base_is_as_it_was() { equal "the base" "$(sha256sum "$base" | cut -c -64)" "$(cat "$scratch/base.sum")"; }

kernel_has_no_complaints() {
    local messages
    messages=$(dmesg)
    ! grep -E 'WARNING: CPU|kernel BUG|BUG: unable|Oops|general protection|refcount_t|blocked for more than' <<< "$messages"
}
