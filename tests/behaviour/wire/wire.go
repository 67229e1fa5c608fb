// The wire contract of a component (spec workloads 24) in Go: environment variables and HTTP, standard library only.
package main

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
)

type object = map[string]any

var (
	root    = os.Getenv("BUBU_POD_ROOT")
	account = root + "/var/run/secrets/kubernetes.io/serviceaccount"
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
	if inputs["mode"] == "fail" || inputs["mode"] == "retry" && attempt == "0" {
		class := "terminal"
		if inputs["mode"] == "retry" {
			class = "rateLimited"
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
	return report(object{"phase": "Succeeded", "exitClass": "success", "output": object{
		"inputs": inputs, "config": config, "secret": secret, "file": file, "attempt": attempt,
		"step": os.Getenv("BUBU_STEP_NAME"), "story": os.Getenv("BUBU_STORY_NAME"),
		"timeout": os.Getenv("BUBU_STEP_TIMEOUT")}})
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

// call speaks to the API server about this process's own StepRun.
func call(method, subresource string, payload any) ([]byte, error) {
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
	url := fmt.Sprintf("https://%s:%s/apis/runs.bubustack.io/v1alpha1/namespaces/%s/stepruns/%s%s",
		os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT"),
		os.Getenv("BUBU_STEPRUN_NAMESPACE"), os.Getenv("BUBU_STEPRUN_NAME"), subresource)
	request, err := http.NewRequest(method, url, body)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Authorization", "Bearer "+strings.TrimSpace(string(token)))
	request.Header.Set("Content-Type", "application/merge-patch+json")
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err == nil && response.StatusCode >= 300 {
		err = fmt.Errorf("HTTP %d: %s", response.StatusCode, content)
	}
	return content, err
}
