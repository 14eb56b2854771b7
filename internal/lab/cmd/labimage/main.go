// Command labimage prints the path of one of the lab's images and makes it if it
// is not in the cache yet.
//
//	labimage [-bootable] [-xz] [-arch arm64|armhf] [-date YYYY-MM-DD] RELEASE
package main

import (
	"flag"
	"fmt"
	"os"

	"picluster/internal/lab"
)

func main() {
	bootable := flag.Bool("bootable", false, "the image that boots (arm64; needs root)")
	xz := flag.Bool("xz", false, "with -bootable: compressed")
	arch := flag.String("arch", "arm64", "arm64 or armhf")
	date := flag.String("date", "", "date of the image, the newest if empty")
	flag.Usage = func() {
		fmt.Fprintln(flag.CommandLine.Output(), "usage: labimage [flags] RELEASE\nflags:")
		flag.PrintDefaults()
		fmt.Fprintln(flag.CommandLine.Output(), "small images:")
		for _, l := range lab.Layouts() {
			fmt.Fprintln(flag.CommandLine.Output(), "  "+l.String())
		}
	}
	flag.Parse()
	if flag.NArg() != 1 {
		flag.Usage()
		os.Exit(2)
	}
	path, err := find(lab.Layout{Release: flag.Arg(0), Arch: *arch, Date: *date}, *bootable, *xz)
	if err != nil {
		fmt.Fprintln(os.Stderr, "labimage:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}

func find(l lab.Layout, bootable, xz bool) (string, error) {
	switch {
	case bootable && xz:
		return lab.MakeBootableXZ(l.Release)
	case bootable:
		return lab.MakeBootable(l.Release)
	}
	return lab.MakeImage(l)
}
