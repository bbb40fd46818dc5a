package intake

import (
	"crypto/tls"
	"slices"

	"mailporter/kit/identity"
)

// A Clients list says which client certificates may hand in mail, and as whom. nil: all that the door's client-ca vouches for.
type Clients []Submitter

// Admit is the submitter who showed a certificate in the handshake; false if none was verified, or it is not on the list.
func (c Clients) Admit(state tls.ConnectionState) (Submitter, bool) {
	if len(state.VerifiedChains) == 0 {
		return Submitter{}, false
	}
	name := identity.Of(state.VerifiedChains[0][0])
	if c == nil {
		return Submitter{Name: name}, true
	}
	i := slices.IndexFunc(c, func(s Submitter) bool { return s.Name == name && name != "" })
	if i < 0 {
		return Submitter{Name: name}, false
	}
	return c[i], true
}
