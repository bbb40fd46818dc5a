// Package serviceaccount verifies Kubernetes service-account tokens: signed JWTs (RFC 7519) that the kubelet puts into a pod
// and renews there. It says which service account sent one, and until when that holds.
//
//	v, err := serviceaccount.New(serviceaccount.Config{Issuer: "https://kubernetes.default.svc.cluster.local",
//		Audience: "mailporter-broker", Keys: "https://kubernetes.default.svc/openid/v1/jwks", Roots: roots, Log: log})
//	go v.Follow(ctx)
//	identity, until, err := v.Verify(ctx, bearer) // system:serviceaccount:mail:imap-worker
//
// What must hold: one signature (RS, PS or ES; never "none", never HS, whose key would be the public one) by a key that the
// issuer publishes now; the issuer; the audience; exp, without leniency; nbf, with five minutes of it (go-oidc's); a subject
// that is a service account. Whatever cannot be verified is refused.
//
// The keys (JWKS, RFC 7517) are read at the start, every five minutes, and when a token names one that is not among them:
// at most every ten seconds, because anybody can make such tokens. When the issuer is silent the last keys stay in use, for
// as long as it is: mail must not stop with the API server. A set that was read replaces the one before whole, so a key that
// the issuer withdrew is worth nothing five minutes later.
package serviceaccount
