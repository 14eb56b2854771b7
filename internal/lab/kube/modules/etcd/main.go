// Command etcd is etcd's server; its own main is not part of a module that can be
// built by itself.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
