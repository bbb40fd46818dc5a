// Package graph reads a folder of an Exchange Online mailbox over Microsoft Graph v1.0, and sends from one.
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
//   - Exchange runs four requests at a time for a mailbox and an application, and answers 429 to a fifth: each takes one of the
//     mailbox's slots (slots.Slots). A Source reads ahead with three of them (web.Ahead) while the caller is busy with a
//     message: the time goes into waiting for answers.
//   - v1.0 has no size of a message: Item.Size is unknown, and the caller's limit cuts the stream.
//
// A Transport sends in two steps: a draft of MIME (POST .../messages, base64), then POST .../messages/{id}/send, answered 202.
//
//   - The draft's immutable id is that of the copy in Sent Items: isDraft tells after a lost answer what became of it. A draft
//     whose making got no answer is known by what it is (stray.go).
//   - Recipients come from To, Cc and Bcc. The envelope's others become Bcc by PATCH; whom To and Cc name in excess would get it,
//     so the message is refused (recipients.go). Exchange writes the mailbox into From unless from is set on the draft.
//   - A request takes about 4 MB: what is larger is taken apart into a draft of JSON and attachments (rebuild.go), those of 3 MB
//     and more by upload session, whose address is a credential and wants no token (upload.go).
package graph
