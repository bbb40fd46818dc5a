// Package idp is the sandbox's identity provider: Microsoft Entra ID and Google behind one HTTP handler, and the directory
// of tenants, applications, users and rights that the mail servers check tokens against.
//
// It is strict where the real ones are strict: each refusal is the real HTTP status, error and AADSTS number. It is a
// simulator, not a product to trust: passwords and secrets stand in its configuration as they are.
//
//   - Directory: who exists, and who may open or send as which mailbox.
//   - Issuer: makes and checks access tokens (RS256 JWTs like Entra's, opaque ya29 ones like Google's) and refresh tokens.
//   - Server: the HTTP endpoints; entra.go and google.go hold the order in which requests are checked.
package idp
