// Package graphd is the mail part of Microsoft Graph v1.0 over the sandbox's mail store: folders, messages, delta rounds,
// MIME content, marking, moving and deleting.
//
// It is strict where clients go wrong: ids change when a message moves unless immutable ids are asked for with every
// request, they hold characters that must be escaped in URLs, a delta round lists the newest first and some entries again,
// delta links are lost when the server forgets them, and four requests at a time are the most for a mailbox and an application.
package graphd
