package daemon

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// version is the module's version, or the commit that it was built from.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	v := info.Main.Version
	if v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "devel-" + s.Value[:12]
		}
	}
	return "devel"
}

func versionLine(name string) string {
	return fmt.Sprintf("%s %s %s %s/%s", name, version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
