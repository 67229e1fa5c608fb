// A Kubernetes control plane in one binary: the name it is called by chooses the program. They share most of their
// code, so one binary is built three times faster than four and takes a third of the space.
package main

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	kubeapiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	kubecontrollermanager "k8s.io/kubernetes/cmd/kube-controller-manager/app"

	// Registered by side effect, as in the mains of Kubernetes: log format and metrics that their flags refer to.
	_ "k8s.io/component-base/logs/json/register"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	_ "k8s.io/component-base/metrics/prometheus/version"
)

func component(newCommand func() *cobra.Command) func() {
	return func() { os.Exit(cli.Run(newCommand())) }
}

func main() {
	programs := map[string]func(){
		"etcd":                    func() { etcdmain.Main(os.Args) },
		"kube-apiserver":          component(kubeapiserver.NewAPIServerCommand),
		"kube-controller-manager": component(kubecontrollermanager.NewControllerManagerCommand),
	}
	name := filepath.Base(os.Args[0])
	program, known := programs[name]
	if !known {
		fmt.Fprintf(os.Stderr, "%q is none of my names; link me as etcd, kube-apiserver or kube-controller-manager\n", name)
		os.Exit(2)
	}
	program()
}
