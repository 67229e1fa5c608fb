#!/bin/sh
# The wire contract of a component (spec workloads 24) in shell: environment variables and curl, nothing else.
set -eu

account="${BUBU_POD_ROOT:-}/var/run/secrets/kubernetes.io/serviceaccount"
base="https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/apis/runs.bubustack.io/v1alpha1"
base="$base/namespaces/$BUBU_STEPRUN_NAMESPACE"
url="$base/stepruns/$BUBU_STEPRUN_NAME"

# The body comes by standard input: an argument of a process holds no large outputs, and everybody can read it.
call() {
  curl --silent --show-error --fail --cacert "$account/ca.crt" \
    --header "Authorization: Bearer $(cat "$account/token")" "$@"
}

report() {
  call --request PATCH --header "Content-Type: application/merge-patch+json" --data-binary @- --output /dev/null \
    "$url/status"
}

# The key "token" of a secret, as its marker variable says.
secret() {
  case "$1" in
    env:*) printenv "${1#env:}token" ;;
    file:*) cat "${BUBU_POD_ROOT:-}${1#file:}/token" ;;
  esac
}

now() {
  date -u +%Y-%m-%dT%H:%M:%SZ
}

# One more event, after those that earlier attempts have left.
signal() {
  summary='"type": "string", "details": {"len": 1}, "sizeBytes": 3, "sha256": "'
  summary="{$summary$(printf '%064d' 0)\"}"
  before=$(call "$url" | tr -d '\n' | sed -n 's/.*"signalEvents": *\(\[[^]]*\]\).*/\1/p')
  seq=$(($(printf %s "$before" | grep -o '"seq"' | wc -l) + 1))
  event="{\"seq\": $seq, \"key\": \"attempt\", \"emittedAt\": \"$(now)\", \"payload\": $summary}"
  case "$before" in
    '' | '[]') events="[$event]" ;;
    *) events="${before%]},$event]" ;;
  esac
  report <<BODY
{"status": {"signals": {"attempt": $summary}, "signalEvents": $events}}
BODY
}

# A side effect that happens once, whatever becomes of the attempts: whoever makes the claim has it.
charge() {
  digest=$(printf '%s/%s/charge' "$BUBU_STEPRUN_NAMESPACE" "$BUBU_STEPRUN_NAME" | sha1sum | cut -c1-16)
  claim="$BUBU_STEPRUN_NAME-effect-$digest"
  uid=$(call "$url" | tr -d '\n' | sed 's/"ownerReferences": *\[[^]]*\]//' | sed -n 's/.*"uid": *"\([^"]*\)".*/\1/p')
  code=$(call --no-fail --header "Content-Type: application/json" --data-binary @- --output /dev/null \
    --write-out '%{http_code}' "$base/effectclaims" <<BODY
{"apiVersion": "runs.bubustack.io/v1alpha1", "kind": "EffectClaim", "metadata": {"name": "$claim"},
 "spec": {"stepRunRef": {"name": "$BUBU_STEPRUN_NAME", "uid": "$uid"}, "effectKey": "charge",
  "holderIdentity": "$BUBU_STEPRUN_NAME"}}
BODY
  )
  case "$code" in
    201) ;;
    409) return 0 ;;
    *) exit 1 ;;
  esac
  echo "$BUBU_STEP_NAME" >>"$1"
  completed="\"completionStatus\": \"completed\", \"completedAt\": \"$(now)\""
  code=409 # the operator writes into it too
  while [ "$code" = 409 ]; do
    code=$(call "$base/effectclaims/$claim" | sed "s/\"spec\": *{/\"spec\":{$completed,/" |
      call --no-fail --request PUT --header "Content-Type: application/json" --data-binary @- --output /dev/null \
        --write-out '%{http_code}' "$base/effectclaims/$claim")
  done
  [ "$code" = 200 ] || exit 1
  report <<BODY
{"status": {"effects": [{"seq": 1, "key": "charge", "status": "succeeded", "emittedAt": "$(now)"}]}}
BODY
}

# Puts a text into the payload store, and gives what stands for it.
offload() {
  path="outputs/$BUBU_STEPRUN_NAMESPACE/$BUBU_STEPRUN_NAME/body.json"
  file="${BUBU_POD_ROOT:-}$BUBU_STORAGE_PATH/$path"
  mkdir -p "${file%/*}"
  printf '{"contentType": "raw", "data": "%s"}' "$(head -c 100000 /dev/zero | tr '\0' x)" >"$file"
  printf '{"$bubuStorageRef": "%s", "$bubuStorageContentType": "text/plain"}' "$path"
}

retries=$(call "$url" | tr -d ' \n' | sed -n 's/.*"retries":\([0-9]*\).*/\1/p')
[ "${retries:-0}" = "$BUBU_STEP_ATTEMPT" ] || exit 1 # an earlier attempt that outlived its time

class= body=
case "$BUBU_TRIGGER_DATA" in
  *'"mode":"all"'*)
    signal
    charge "$(printf %s "$BUBU_TRIGGER_DATA" | sed 's/.*"calls":"\([^"]*\)".*/\1/')"
    [ "$BUBU_STEP_ATTEMPT" != 0 ] || class=rateLimited
    ;;
esac
case "$BUBU_TRIGGER_DATA" in
  *'"mode":"fail"'*) class=terminal ;;
  *'"mode":"retry"'*) [ "$BUBU_STEP_ATTEMPT" != 0 ] || class=rateLimited ;;
esac
if [ -n "$class" ]; then
  report <<BODY
{"status": {"phase": "Failed", "exitCode": 1, "exitClass": "$class", "lastFailureMsg": "the service said no",
 "error": {"version": "v1", "type": "execution_error", "message": "the service said no", "exitClass": "$class",
  "code": "HTTP_429", "details": {"retryAfterSeconds": 0.2}}}}
BODY
  exit 1
fi

case "$BUBU_TRIGGER_DATA" in
  *'"mode":"all"'*) body="\"body\": $(offload), " ;;
esac

report <<BODY
{"status": {"phase": "Succeeded", "exitClass": "success", "output": {$body
  "inputs": $BUBU_TRIGGER_DATA, "config": $BUBU_STEP_CONFIG,
  "secret": "$(secret "$BUBU_SECRET_api")", "file": "$(secret "$BUBU_SECRET_file")",
  "attempt": "$BUBU_STEP_ATTEMPT", "step": "$BUBU_STEP_NAME", "story": "$BUBU_STORY_NAME",
  "timeout": "$BUBU_STEP_TIMEOUT"}}}
BODY
