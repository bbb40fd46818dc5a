// Package directory turns the broker's files into validated words: the process's own settings (broker.yaml), applications,
// defaults and mailboxes (mailboxes.d/*.yaml) and the policy.
//
//	c, complaints := directory.Load("broker.yaml", nil)   // everything that is wrong, with file, line, column, option, remedy
//	d := directory.Open("broker.yaml", c, log)       // keeps it, and
//	d.Reload()                                       // replaces it whole when the files have become another good state
//	d.Now().Find("support@contoso.com").Inbound      // the section pop-client: protocol, grant, credential, endpoint
//
// How the files become words:
//   - An option of a section is looked for in the section, then in its mailbox, then in the application that it names, then
//     in the defaults of the same section. The first that has it wins.
//   - The grant follows from the options (grant.go), the authority from an allow-list (authority.go), server, port and
//     security from protocol and provider (endpoint.go).
//   - Secrets are read while loading. Mailboxes whose options come to the same credential share one token.Credential, so
//     they share its tokens; a changed secret changes its Version.
package directory
