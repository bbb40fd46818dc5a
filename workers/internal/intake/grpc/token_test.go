package grpc

import "testing"

// FuzzPageToken: whatever a caller gives, a token is either one that was given for the same list, or refused.
func FuzzPageToken(f *testing.F) {
	for _, place := range []string{"17", "1795272084134076-0660ca5ad98f2aGBCYSIK5"} {
		f.Add(tokenOf(place, ""), "")
		f.Add(tokenOf(place, "sales@contoso.example"), "sales@contoso.example")
		f.Add(tokenOf(place, "sales@contoso.example"), "")
	}
	f.Add("", "")
	f.Add("?", "")
	f.Fuzz(func(t *testing.T, token, mailbox string) {
		place, ours := placeIn(token, mailbox)
		if ours && token != "" && tokenOf(place, mailbox) != token {
			t.Errorf("%q names %q, whose token is %q", token, place, tokenOf(place, mailbox))
		}
		if back, ours := placeIn(tokenOf("x"+token, mailbox), mailbox); !ours || back != "x"+token {
			t.Errorf("the token of %q names %q", "x"+token, back)
		}
	})
}
