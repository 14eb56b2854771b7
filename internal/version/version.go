// Package version says which build of picluster this is.
package version

import "runtime/debug"

// stamp is set by the linker from `git describe` (see Makefile).
var stamp string

// String returns the version: the stamp of a release build, else the module's
// version as `go install` knows it, else "dev".
func String() string {
	if stamp != "" {
		return stamp
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return "dev"
}
