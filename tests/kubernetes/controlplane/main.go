// A Kubernetes control plane in one file, built from the modules that the released programs are
// built from: the first argument is the program to be, the others are its own. Used by ../run, whose
// Python programs start it.
//
// usage: controlplane kube-apiserver|kube-controller-manager|kube-scheduler|kubectl ARGUMENT...
//
//	controlplane etcd DIRECTORY CLIENT_URL PEER_URL
package main

import (
	"log"
	"net/url"
	"os"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/embed"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/metrics/prometheus/clientgo"
	kubectl "k8s.io/kubectl/pkg/cmd"
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	controllers "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
)

// Each is made only when it is asked for: making one already listens for signals.
var programs = map[string]func() *cobra.Command{
	"kube-apiserver":          apiserver.NewAPIServerCommand,
	"kube-controller-manager": controllers.NewControllerManagerCommand,
	"kube-scheduler":          func() *cobra.Command { return scheduler.NewSchedulerCommand() },
	"kubectl":                 kubectl.NewDefaultKubectlCommand,
	"etcd":                    newEtcdCommand,
}

func main() {
	if len(os.Args) < 2 || programs[os.Args[1]] == nil {
		log.Fatal("usage: controlplane PROGRAM ARGUMENT...")
	}
	name := os.Args[1]
	os.Args = append([]string{name}, os.Args[2:]...)
	os.Exit(cli.Run(programs[name]()))
}

func newEtcdCommand() *cobra.Command {
	return &cobra.Command{
		Use:  "etcd DIRECTORY CLIENT_URL PEER_URL",
		Args: cobra.ExactArgs(3),
		RunE: func(_ *cobra.Command, arguments []string) error {
			return serveEtcd(arguments[0], arguments[1], arguments[2])
		},
	}
}

// serveEtcd serves until the process ends. Nobody needs what it keeps after that: it does not wait for
// the disk.
func serveEtcd(directory, client, peer string) error {
	clientURL, err := url.Parse(client)
	if err != nil {
		return err
	}
	peerURL, err := url.Parse(peer)
	if err != nil {
		return err
	}
	config := embed.NewConfig()
	config.Dir = directory
	config.UnsafeNoFsync = true
	config.ListenClientUrls, config.AdvertiseClientUrls = []url.URL{*clientURL}, []url.URL{*clientURL}
	config.ListenPeerUrls, config.AdvertisePeerUrls = []url.URL{*peerURL}, []url.URL{*peerURL}
	config.InitialCluster = config.InitialClusterFromName(config.Name)
	server, err := embed.StartEtcd(config)
	if err != nil {
		return err
	}
	return <-server.Err()
}
