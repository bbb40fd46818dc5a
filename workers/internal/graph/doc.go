// Package graph reads a folder of an Exchange Online mailbox over Microsoft Graph v1.0.
//
// A Source holds no session: every request carries a token of its own. New mail is found by delta rounds over one folder
// (GET .../messages/delta, changeType=created), its bytes come from .../messages/{id}/$value.
//
//   - Every request asks for immutable ids (Prefer: IdType="ImmutableId"): they stay when a message moves within the mailbox.
//     The handle is the id, and so is the key. Graph rebuilds MIME, so no hash of the bytes could be one.
//   - Cursor: the nextLink or deltaLink, which are followed as they are, and only to the host that was configured
//     (cursor.go). A lost one is 410 syncStateNotFound or resyncRequired: from the beginning, and the keys keep copies away.
//   - A cloud without delta (China) is recognised by its answer. There the folder is listed by the time of arrival; with
//     disposition keep or mark-read a message that somebody moves into the folder later is not seen (watermark.go).
//   - Exchange runs four requests at a time for a mailbox and an application, and answers 429 to a fifth. A Source reads ahead
//     with three of them (web.Ahead) while the caller is busy with a message: the time goes into waiting for answers.
//   - v1.0 has no size of a message: Item.Size is unknown, and the caller's limit cuts the stream.
package graph
