package inbound

import (
	"fmt"

	"mailporter/kit/tokenclient"
)

// CheckTargets complains about messages that would be moved into the folder that is read, where they would be found again.
// same says whether two names are one folder's.
func CheckTargets(in tokenclient.InboundSettings, folder string, same func(a, b string) bool) (errs []error) {
	if in.After == tokenclient.Move && (in.AfterFolder == "" || same(in.AfterFolder, folder)) {
		errs = append(errs, fmt.Errorf("disposition move to %q: name another folder than the one that is read", in.AfterFolder))
	}
	if in.FailedFolder != "" && same(in.FailedFolder, folder) {
		errs = append(errs, fmt.Errorf("failed-items-folder-name %q: name another folder than the one that is read", in.FailedFolder))
	}
	return errs
}
