#!/bin/sh
# Checks and tests the policies that are to be committed, and refuses a change that allows more than HEAD does unless
# STUBGATE_ALLOW_WIDENING=1. With pre-commit (see pre-commit-config.yaml) it gets the files; as .git/hooks/pre-commit it
# takes what is staged. STUBGATE: how stubgate is called.
set -eu
: "${STUBGATE:=npx --no-install stubgate}"

# git sets it for hooks; "git show" below is to mean this repository's own.
top=$(git rev-parse --show-toplevel)
cd "$top"
list=$(mktemp)
old=$(mktemp)
trap 'rm -f "$list" "$old"' EXIT
if [ $# -gt 0 ]; then
  printf '%s\n' "$@" > "$list"
else
  git diff --cached --name-only --diff-filter=ACMR > "$list"
fi

failed=0
grep -E '(^|/)stubgate(\.cases)?\.ya?ml$' "$list" | sed 's/\.cases\.yaml$/.yaml/' | sort -u > "$list.policies" || true
while IFS= read -r policy; do
  $STUBGATE check "$policy" < /dev/null || failed=1
  if [ -f "${policy%.yaml}.cases.yaml" ]; then $STUBGATE test "$policy" < /dev/null || failed=1; fi
  if [ "${STUBGATE_ALLOW_WIDENING:-0}" != 1 ] && git show "HEAD:$policy" > "$old" 2> /dev/null; then
    $STUBGATE diff --no-widening "$old" "$policy" < /dev/null || failed=1
  fi
done < "$list.policies"
rm -f "$list.policies"
exit "$failed"
