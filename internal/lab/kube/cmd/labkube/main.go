// Command labkube prints the paths of Kubernetes' programs in the lab's cache, and
// builds those that are not there yet.
//
//	labkube PROGRAM...
package main

import (
	"fmt"
	"os"
	"strings"

	"picluster/internal/lab/kube"
)

func main() {
	if len(os.Args) < 2 {
		fmt.Fprintf(os.Stderr, "usage: labkube PROGRAM...\nprograms: %s\n", strings.Join(kube.Programs(), " "))
		os.Exit(2)
	}
	for _, name := range os.Args[1:] {
		path, err := kube.Build(name)
		if err != nil {
			fmt.Fprintln(os.Stderr, "labkube:", err)
			os.Exit(1)
		}
		fmt.Println(path)
	}
}
