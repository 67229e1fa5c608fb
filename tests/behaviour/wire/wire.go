// The wire contract of a component (spec workloads 24) in Go: environment variables and HTTP, standard library only.
package main

import (
	"bytes"
	"crypto/sha1"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

type object = map[string]any

var (
	root    = os.Getenv("BUBU_POD_ROOT")
	account = root + "/var/run/secrets/kubernetes.io/serviceaccount"

	name, namespace = os.Getenv("BUBU_STEPRUN_NAME"), os.Getenv("BUBU_STEPRUN_NAMESPACE")

	errConflict = errors.New("HTTP 409")
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	inputs, err := decode(os.Getenv("BUBU_TRIGGER_DATA"))
	if err != nil {
		return err
	}
	config, err := decode(os.Getenv("BUBU_STEP_CONFIG"))
	if err != nil {
		return err
	}
	var step struct{ Status struct{ Retries int } }
	body, err := call(http.MethodGet, "", nil)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &step); err != nil {
		return err
	}
	attempt := os.Getenv("BUBU_STEP_ATTEMPT")
	if strconv.Itoa(step.Status.Retries) != attempt {
		return fmt.Errorf("attempt %s outlived its time", attempt)
	}
	mode := inputs["mode"]
	if mode == "all" {
		if err := signal(); err != nil {
			return err
		}
		if err := charge(inputs["calls"].(string)); err != nil {
			return err
		}
	}
	if mode == "fail" || mode != "succeed" && attempt == "0" {
		class := "rateLimited"
		if mode == "fail" {
			class = "terminal"
		}
		message := "the service said no"
		failure := object{"version": "v1", "type": "execution_error", "message": message, "exitClass": class,
			"code": "HTTP_429", "details": object{"retryAfterSeconds": 0.2}}
		if err := report(object{"phase": "Failed", "exitCode": 1, "exitClass": class, "lastFailureMsg": message,
			"error": failure}); err != nil {
			return err
		}
		return fmt.Errorf("failed on purpose")
	}
	secret, err := read(os.Getenv("BUBU_SECRET_api"))
	if err != nil {
		return err
	}
	file, err := read(os.Getenv("BUBU_SECRET_file"))
	if err != nil {
		return err
	}
	output := object{"inputs": inputs, "config": config, "secret": secret, "file": file, "attempt": attempt,
		"step": os.Getenv("BUBU_STEP_NAME"), "story": os.Getenv("BUBU_STORY_NAME"),
		"timeout": os.Getenv("BUBU_STEP_TIMEOUT")}
	if mode == "all" {
		if output["body"], err = offload(strings.Repeat("x", 100_000)); err != nil {
			return err
		}
	}
	return report(object{"phase": "Succeeded", "exitClass": "success", "output": output})
}

// signal adds one more event, after those that earlier attempts have left.
func signal() error {
	var step struct{ Status struct{ SignalEvents []any } }
	if err := get("", &step); err != nil {
		return err
	}
	summary := object{"type": "string", "details": object{"len": 1}, "sizeBytes": 3, "sha256": strings.Repeat("0", 64)}
	events := append(step.Status.SignalEvents, object{"seq": len(step.Status.SignalEvents) + 1, "key": "attempt",
		"emittedAt": now(), "payload": summary})
	return report(object{"signals": object{"attempt": summary}, "signalEvents": events})
}

// charge has a side effect that happens once, whatever becomes of the attempts: whoever makes the claim has it.
func charge(calls string) error {
	var step struct{ Metadata struct{ UID string } }
	if err := get("", &step); err != nil {
		return err
	}
	digest := sha1.Sum([]byte(namespace + "/" + name + "/charge"))
	claim := fmt.Sprintf("%s-effect-%x", name, digest[:8])
	spec := object{"stepRunRef": object{"name": name, "uid": step.Metadata.UID}, "effectKey": "charge",
		"holderIdentity": name}
	_, err := call(http.MethodPost, "effectclaims", object{"apiVersion": "runs.bubustack.io/v1alpha1",
		"kind": "EffectClaim", "metadata": object{"name": claim}, "spec": spec})
	if err == errConflict {
		return nil
	}
	if err != nil {
		return err
	}
	file, err := os.OpenFile(calls, os.O_APPEND|os.O_WRONLY|os.O_CREATE, 0o644)
	if err != nil {
		return err
	}
	fmt.Fprintln(file, os.Getenv("BUBU_STEP_NAME"))
	if err := file.Close(); err != nil {
		return err
	}
	for err = errConflict; err == errConflict; { // the operator writes into it too
		var made object
		if err := get("effectclaims/"+claim, &made); err != nil {
			return err
		}
		made["spec"].(object)["completionStatus"] = "completed"
		made["spec"].(object)["completedAt"] = now()
		_, err = call(http.MethodPut, "effectclaims/"+claim, made)
	}
	if err != nil {
		return err
	}
	return report(object{"effects": []any{object{"seq": 1, "key": "charge", "status": "succeeded", "emittedAt": now()}}})
}

// offload puts a text into the payload store, and gives what stands for it.
func offload(text string) (object, error) {
	path := "outputs/" + namespace + "/" + name + "/body.json"
	file := root + os.Getenv("BUBU_STORAGE_PATH") + "/" + path
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return nil, err
	}
	content, err := json.Marshal(object{"contentType": "raw", "data": text})
	if err != nil {
		return nil, err
	}
	return object{"$bubuStorageRef": path, "$bubuStorageContentType": "text/plain"}, os.WriteFile(file, content, 0o644)
}

func now() string { return time.Now().UTC().Format(time.RFC3339) }

func get(resource string, into any) error {
	body, err := call(http.MethodGet, resource, nil)
	if err != nil {
		return err
	}
	return json.Unmarshal(body, into)
}

// decode keeps all digits of numbers.
func decode(text string) (object, error) {
	var found object
	decoder := json.NewDecoder(strings.NewReader(text))
	decoder.UseNumber()
	err := decoder.Decode(&found)
	return found, err
}

// read gives the key "token" of a secret, as its marker variable says.
func read(marker string) (string, error) {
	kind, place, _ := strings.Cut(marker, ":")
	if kind == "env" {
		return os.Getenv(place + "token"), nil
	}
	content, err := os.ReadFile(root + place + "/token")
	return strings.TrimRight(string(content), "\n"), err
}

func report(status object) error {
	_, err := call(http.MethodPatch, "/status", object{"status": status})
	return err
}

// call speaks to the API server about this process's own StepRun, or about another resource of its namespace.
func call(method, resource string, payload any) ([]byte, error) {
	if resource == "" || resource[0] == '/' {
		resource = "stepruns/" + name + resource
	}
	token, err := os.ReadFile(account + "/token")
	if err != nil {
		return nil, err
	}
	authority, err := os.ReadFile(account + "/ca.crt")
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}}}
	var body io.Reader
	if payload != nil {
		encoded, err := json.Marshal(payload)
		if err != nil {
			return nil, err
		}
		body = bytes.NewReader(encoded)
	}
	url := fmt.Sprintf("https://%s:%s/apis/runs.bubustack.io/v1alpha1/namespaces/%s/%s",
		os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"), namespace, resource)
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Content-Type", "application/json")
	if method == http.MethodPatch {
		request.Header.Set("Content-Type", "application/merge-patch+json")
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if response.StatusCode == http.StatusConflict {
		return nil, errConflict
	}
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("HTTP %d: %s", response.StatusCode, content)
	}
	return content, err
}
