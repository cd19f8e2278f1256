# SPDX-License-Identifier: Apache-2.0
# Fresh Debian systems for the tests of packages; sourced. Wants root and debootstrap. Everything is in build/clean.
clean=$root/build/clean
mkdir -p "$clean"

# fresh SUITE NAME: a minimal system of that suite in $clean/NAME. What the mirror gave once is kept as $clean/SUITE.
fresh() {
  local suite=$1 name=$2
  if [ ! -e "$clean/$suite.made" ]; then
    rm -rf "${clean:?}/$suite"
    debootstrap --variant=minbase "$suite" "$clean/$suite" "${REEMBED_MIRROR:-http://deb.debian.org/debian}" \
      >"$clean/$suite.log" 2>&1 || { tail -n 5 "$clean/$suite.log" >&2; echo "debootstrap $suite failed" >&2; exit 1; }
    touch "$clean/$suite.made"
  fi
  rm -rf "${clean:?}/$name"
  cp -a --reflink=auto "$clean/$suite" "$clean/$name"
  cp /etc/resolv.conf /etc/hosts "$clean/$name/etc/"
}

# inside NAME COMMAND ...: runs it there, with mounts that end with it and an environment of its own.
inside() {
  local name=$1
  shift
  unshare --mount --fork bash -c '
    set -e
    mount -t proc proc "$0/proc"
    mount --rbind /dev "$0/dev"
    mount --make-rslave "$0/dev"
    exec chroot "$0" env -i PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 \
      DEBIAN_FRONTEND=noninteractive "$@"' "$clean/$name" "$@"
}

# step WORDS -- COMMAND ...: says how long it took; what it printed only if it failed.
total=0
commands=0
step() {
  local words=$1 began=$EPOCHREALTIME
  shift 2
  local code=0
  "$@" >"$clean/step.log" 2>&1 || code=$?
  local took
  took=$(awk -v a="$began" -v b="$EPOCHREALTIME" 'BEGIN { printf "%.1f", b - a }')
  total=$(awk -v a="$total" -v b="$took" 'BEGIN { printf "%.1f", a + b }')
  commands=$((commands + 1))
  printf '%7s s  %s (exit code %d)\n' "$took" "$words" "$code"
  return "$code"
}

passed=0
failed=0
check() {
  local words=$1
  shift
  if "$@" >"$clean/check.log" 2>&1; then
    passed=$((passed + 1))
    echo "    ok     $words"
  else
    failed=$((failed + 1))
    echo "    FAILED $words"
    tail -n 20 "$clean/check.log"
  fi
}

# code WANTED COMMAND ...: it ends with that exit code.
code() {
  local wanted=$1 got=0
  shift
  "$@" || got=$?
  [ "$got" -eq "$wanted" ] || { echo "expected exit code $wanted, got $got"; return 1; }
}

finish() {
  echo "$passed passed, $failed failed"
  [ "$failed" -eq 0 ]
}
