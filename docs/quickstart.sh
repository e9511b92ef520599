#!/usr/bin/env bash
# The walk-through of the README: two people, three accounts, one repeated transfer.
#
#   SYSTEM_PASSWORD=… docs/quickstart.sh [http://127.0.0.1:5000]
#
# SYSTEM_PASSWORD is the one that `make run` printed at its first start. May run as often as you like.
set -euo pipefail

api="${1:-http://127.0.0.1:5000}/api"
system_email="${SYSTEM_EMAIL:-system@fincore.example}"
system_password="${SYSTEM_PASSWORD:?Set SYSTEM_PASSWORD to what \`make run\` printed at its first start.}"
run="$(date +%s)-$$"

curl -sS -o /dev/null "$api/openapi.json" || { echo "Nothing answers at $api. Is \`make run\` ready?" >&2; exit 1; }

# call METHOD PATH TOKEN [BODY]: prints the answer, or fails with the problem document of an error.
call() {
  local answer status
  answer=$(curl -sS -X "$1" "$api$2" -H "Authorization: Bearer $3" -H 'Content-Type: application/json' \
    ${4:+-d "$4"} -w '\n%{http_code}')
  status=${answer##*$'\n'}
  answer=${answer%$'\n'*}
  [ "$status" -lt 400 ] || { printf '%s\n%s\n' "$1 $2 answered $status" "${answer%$'\n'}" >&2; return 1; }
  printf '%s\n' "${answer%$'\n'}"
}

# pick NAME…: prints a member of the JSON document on standard input; nothing came if the call before it failed.
pick() {
  python3 -c 'import functools, json, sys; text = sys.stdin.read() or sys.exit(1)
print(functools.reduce(lambda d, n: d[n], sys.argv[1:], json.loads(text)))' "$@"
}

step() { printf '\n\033[1m%s\033[0m\n' "$*"; }

step "Asha and Ben register"
asha=$(call POST /auth/register none '{"name": "Asha Rao", "email": "asha-'"$run"'@example.com", "password": "correct horse battery"}' | pick token)
ben=$(call POST /auth/register none '{"name": "Ben Cole", "email": "ben-'"$run"'@example.com", "password": "staple of the battery"}' | pick token)

step "Asha opens two accounts, Ben one"
current=$(call POST /accounts/create "$asha" '{"name": "Current"}' | pick account id)
savings=$(call POST /accounts/create "$asha" '{"name": "Savings"}' | pick account id)
bens=$(call POST /accounts/create "$ben" '{}' | pick account id)
echo "Current $current, Savings $savings, Ben's $bens"

step "The bank credits Asha's current account with ₹100.00"
system=$(call POST /auth/login none '{"email": "'"$system_email"'", "password": "'"$system_password"'"}' | pick token)
call POST /transactions/initial-funds "$system" '{"toAccount": "'"$current"'", "amount": 10000, "idempotencyKey": "funds-'"$run"'"}'

step "Asha saves ₹30.00 and sends Ben ₹5.00"
call POST /transactions/create "$asha" '{"fromAccount": "'"$current"'", "toAccount": "'"$savings"'", "amount": 3000, "idempotencyKey": "save-'"$run"'"}'
call POST /transactions/create "$asha" '{"fromAccount": "'"$current"'", "toAccount": "'"$bens"'", "amount": 500, "idempotencyKey": "lunch-'"$run"'", "description": "Lunch"}'

step "The last request again, as after a lost connection: the same answer, and no more money moves"
call POST /transactions/create "$asha" '{"fromAccount": "'"$current"'", "toAccount": "'"$bens"'", "amount": 500, "idempotencyKey": "lunch-'"$run"'", "description": "Lunch"}'

step "Balances, read from the ledger"
call GET "/accounts/$current/balance" "$asha"
call GET "/accounts/$savings/balance" "$asha"
call GET "/accounts/$bens/balance" "$ben"

step "More than there is: refused, and recorded as FAILED"
call POST /transactions/create "$asha" '{"fromAccount": "'"$current"'", "toAccount": "'"$bens"'", "amount": 999999, "idempotencyKey": "dream-'"$run"'"}' || true

step "Asha logs out, and her token is worth nothing any more"
call POST /auth/logout "$asha"
call GET /auth/me "$asha" || true
