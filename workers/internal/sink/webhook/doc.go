// Package webhook is the sink that posts every message to an HTTP address.
//
// The body of the POST is the message as the server gave it, Content-Type message/rfc822. A 2xx answer takes custody:
// the receiver must have it durably by then. The same message may be posted again, after a crash or a lost answer, with
// the same Webhook-Id and Idempotency-Key; the receiver keeps one.
//
// Requests are signed as the Standard Webhooks specification (standardwebhooks.com, 1.0.0) has it, for which receivers find
// libraries in every language: Webhook-Signature is "v1," and the base64 of the HMAC-SHA256 of "ID.TIMESTAMP.BODY". The
// Content-Digest is that of RFC 9530. What the message came from stands in Mailporter-Mailbox, Mailporter-Folder and
// Mailporter-Received.
package webhook
