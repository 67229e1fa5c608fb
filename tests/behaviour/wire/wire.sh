#!/bin/sh
# The wire contract of a component (spec workloads 24) in shell: environment variables and curl, nothing else.
set -eu

account="${BUBU_POD_ROOT:-}/var/run/secrets/kubernetes.io/serviceaccount"
url="https://$KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT/apis/runs.bubustack.io/v1alpha1"
url="$url/namespaces/$BUBU_STEPRUN_NAMESPACE/stepruns/$BUBU_STEPRUN_NAME"

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

retries=$(call "$url" | tr -d ' \n' | sed -n 's/.*"retries":\([0-9]*\).*/\1/p')
[ "${retries:-0}" = "$BUBU_STEP_ATTEMPT" ] || exit 1 # an earlier attempt that outlived its time

class=
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

report <<BODY
{"status": {"phase": "Succeeded", "exitClass": "success", "output": {
  "inputs": $BUBU_TRIGGER_DATA, "config": $BUBU_STEP_CONFIG,
  "secret": "$(secret "$BUBU_SECRET_api")", "file": "$(secret "$BUBU_SECRET_file")",
  "attempt": "$BUBU_STEP_ATTEMPT", "step": "$BUBU_STEP_NAME", "story": "$BUBU_STORY_NAME",
  "timeout": "$BUBU_STEP_TIMEOUT"}}}
BODY
